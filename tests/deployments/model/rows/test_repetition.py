"""A search that has come to repeat itself ends, in both engines at the same token."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from deployments.model.reference import ReferenceEngine
from deployments.model.repetition import LEAST_TOKENS
from deployments.model.rows.engine import RowEngine
from deployments.model.settings import RowSettings

from .asking import picture, request_to

FAVOURITE = 65


class Stuck(torch.nn.Module):
    """An output layer that says the same whatever it is given, and other things rather less."""

    def __init__(self, real):
        super().__init__()
        self.real, self.weight = real, real.weight

    def forward(self, hidden):
        logits = self.real(hidden) / 20
        logits[..., FAVOURITE] = 6
        return logits


@pytest.fixture
def stuck(loaded):
    model = deepcopy(loaded.model)
    model.set_submodule(loaded.kind.head, Stuck(model.get_submodule(loaded.kind.head)))
    return replace(loaded, model=model)


@pytest.mark.parametrize("beam_width", [1, 3])
def test_it_ends_with_its_reason(stuck, beam_width):
    requests = [request_to(stuck, f"q {n}", (picture(n),), beam_width=beam_width, max_new_tokens=150) for n in range(3)]
    rows, reference = RowEngine(stuck, RowSettings(rows=12, length=320, collapse=False)), ReferenceEngine(stuck)
    for request in requests:
        ours = rows.submit(request).result(timeout=120)
        theirs = reference.submit(request).result(timeout=120)
        assert (ours.token_ids, ours.finish_reason) == (theirs.token_ids, theirs.finish_reason)
        assert ours.finish_reason == "repetition"
        assert LEAST_TOKENS <= len(ours.token_ids) < 150
        assert ours.token_ids[-LEAST_TOKENS:] == (FAVOURITE,) * LEAST_TOKENS
    rows.close()
    reference.close()
