"""When a beam search ends, by all that ``early_stopping`` may be: as ``model.generate`` ends it, token for token."""

import pytest
import torch
from pydantic import ValidationError

from deployments.model.rows.engine import RowEngine
from deployments.model.settings import ModelKnobs, RowSettings

from .asking import ending_in, picture, request_to
from .test_equality import eos_of

KINDS = (False, True, "never")
SETTINGS = RowSettings(rows=16, length=256, collapse=False)


def generated(loaded, request):
    """What the model answers alone, asked without any part of ours."""
    decoding, prompt = request.decoding, request.prompt
    with torch.inference_mode():
        out = loaded.model.generate(
            **loaded.inputs(prompt, request.pictures), max_new_tokens=decoding.max_new_tokens, do_sample=False,
            num_beams=decoding.beam_width, length_penalty=decoding.length_penalty,
            early_stopping=decoding.early_stopping, eos_token_id=list(loaded.eos_token_ids),
            pad_token_id=loaded.eos_token_ids[0],
        )[0, prompt.tokens :].tolist()  # fmt: skip
    ends = [place for place, token in enumerate(out) if token in loaded.eos_token_ids]
    return tuple(out[: ends[0]] if ends else out)


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("early_stopping", KINDS)
def test_a_search_ends_where_generate_s_does(loaded, alone, early_stopping, length_penalty):
    loaded = ending_in(loaded, eos_of(loaded, alone))
    search = {"early_stopping": early_stopping, "length_penalty": length_penalty, "max_new_tokens": 40}
    requests = [
        request_to(loaded, f"question {n}", (picture(n),), beam_width=width, **search)
        for n in range(2)
        for width in (2, 3, 5)
    ]
    engine = RowEngine(loaded, SETTINGS)
    told = [future.result(timeout=60).token_ids for future in [engine.submit(request) for request in requests]]
    engine.close()
    assert told == [generated(loaded, request) for request in requests]


@pytest.mark.parametrize("loaded", ["glm46v", "glm46v of another shape"], indirect=True)
def test_never_is_another_search_than_the_others(loaded, alone):
    """Else the test above would show nothing."""
    loaded = ending_in(loaded, eos_of(loaded, alone))
    answers = [
        [
            alone(
                loaded,
                request_to(loaded, f"q {n}", (picture(n),), beam_width=3, max_new_tokens=40, early_stopping=kind, length_penalty=2.0),
            ).token_ids
            for n in range(8)
        ]
        for kind in KINDS
    ]  # fmt: skip
    assert answers[2] != answers[0] != answers[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_knob_takes_each(kind):
    assert ModelKnobs.model_validate({"early_stopping": kind}).early_stopping == kind


def test_the_knob_takes_nothing_else():
    with pytest.raises(ValidationError):
        ModelKnobs.model_validate({"early_stopping": "sometimes"})
