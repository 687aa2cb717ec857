"""Hundreds of random searches in random schedules, each of them as ``model.generate`` does it alone.

``TUWEN_SEED`` sets the seed, which every run prints; ``TUWEN_SEARCHES`` sets how many there are.
"""

import os
import secrets
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from deployments.contract import Level
from deployments.model.rows.beams import Beams, token_ids
from deployments.model.settings import RowSettings
from deployments.model.vision_model import VisionModel

from .asking import ending_in, picture, request_to
from .stepping import Stepped, greedy_from

SEARCHES = int(os.environ.get("TUWEN_SEARCHES", 500))
LOT = 10
LENGTH = 160
FORCED = 0.05
"""Of the searches that run, at each arrival."""


ENDS = ((263,), range(0, 320, 40), range(0, 320, 8))
"""Tokens that end an answer: hypotheses end hardly ever, late, and early."""


@pytest.fixture(scope="module")
def models(checkpoint_of):
    """One model, by what ends its answers."""
    model = VisionModel.from_pretrained(checkpoint_of(7, num_hidden_layers=2))
    model.close()
    return [ending_in(model.loaded, ends) for ends in ENDS]


def random_settings(rng):
    rows = rng.randint(1, 16)
    return RowSettings(
        rows=rows, length=LENGTH, prefill_tokens=rng.choice((rows + 1, 24, 64, 2048)), collapse=rng.random() < 0.5,
        prefix_store_mb=rng.choice((0, 1)), feature_store_mb=rng.choice((0, 1)),
    )  # fmt: skip


def random_request(rng, loaded):
    shown = [(), (rng.choice(PICTURES),), (rng.choice(PICTURES), rng.choice(PICTURES))][rng.choice((0, 1, 1, 2))]
    return request_to(
        loaded, rng.choice(("what?", "and this one here?", "a longer question than the others, about all of it")),
        shown, beam_width=rng.randint(1, 6), max_new_tokens=rng.randint(1, 16),
        length_penalty=rng.choice((-1.0, -0.3, 0.0, 0.7, 1.0, 2.0)), early_stopping=rng.choice((True, False, "never")),
    )  # fmt: skip


PICTURES = [picture(seed, 28 * (1 + seed % 3), 56) for seed in range(6)]


class Followed(Stepped):
    """A batch of which is noted how wide each search began, and with which tokens one that collapsed went on."""

    def __init__(self, loaded, settings):
        super().__init__(loaded, settings)
        self.widths, self.collapsed = {}, {}
        admit, collapse = self.batch._admit, self.batch.collapse

        def admitted(sequence, width):
            self.widths[sequence.future] = width
            admit(sequence, width)

        def collapsed(sequence):
            was_beams = isinstance(sequence.search, Beams)
            collapse(sequence)
            if was_beams:
                self.collapsed[sequence.future] = token_ids(sequence.search.best), sequence.search.done

        self.batch._admit, self.batch.collapse = admitted, collapsed


def right(loaded, alone, followed, request, future):
    """The tokens that ``generate`` gives for what became of the request."""

    def as_wide_as(beams):
        return alone(loaded, replace(request, decoding=replace(request.decoding, beam_width=beams))).token_ids

    ends = loaded.eos_token_ids
    if future in followed.collapsed:
        begun, is_done = followed.collapsed[future]
        if is_done or len(begun) == request.decoding.max_new_tokens:
            return begun[:-1] if begun and begun[-1] in ends else begun
        return greedy_from(loaded, alone, request, begun) if begun else as_wide_as(1)
    return as_wide_as(followed.widths[future])


def fate_of(followed, request, future):
    if request.decoding.beam_width == 1:
        return "greedy"
    if future in followed.collapsed:
        return "collapsed"
    return "whole" if followed.widths[future] == request.decoding.beam_width else "narrow"


def asked_at_random(rng, followed, requests):
    """Their futures; in between the batch takes some steps, and some searches are made to collapse."""
    futures = []
    for request in requests:
        futures.append(followed.submit(request))
        followed.step(rng.choice((0, 0, 1, 3, 9)))
        for sequence in followed.batch.running:
            if rng.random() < FORCED:
                followed.batch.collapse(sequence)
    followed.run()
    return futures


def test_random_searches_are_those_of_generate(models, alone, record_property):
    seed = int(os.environ.get("TUWEN_SEED", secrets.randbelow(10**6)))
    print(f"TUWEN_SEED={seed}")
    record_property("seed", seed)
    rng, fates = Random(seed), Counter()
    for lot in range(SEARCHES // LOT):
        loaded = models[lot * len(models) * LOT // SEARCHES]  # one after the other
        followed = Followed(loaded, random_settings(rng))
        requests = [random_request(rng, loaded) for _ in range(LOT)]
        for request, future in zip(requests, asked_at_random(rng, followed, requests), strict=True):
            answer, fate = future.result(timeout=0), fate_of(followed, request, future)
            told = f"TUWEN_SEED={seed}, lot {lot}, {fate}: {request.decoding} in {followed.settings}"
            assert answer.token_ids == right(loaded, alone, followed, request, future), told
            assert answer.level == (Level.FULL if fate == "whole" else Level.FAST), told
            fates[fate] += 1
        assert followed.batch.free == followed.settings.rows
    assert min(fates[fate] for fate in ("whole", "collapsed", "narrow", "greedy")) > SEARCHES // 50, fates
