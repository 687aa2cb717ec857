"""Requests about random pictures of the size that the tiny model sees."""

import numpy as np

from deployments.model.engine import Decoding, EngineRequest


def picture(seed, side=112):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def request_to(loaded, text="what?", pictures=(), **decoding):
    prompt = loaded.writer().write(text, [loaded.layout.tokens(one) for one in pictures])
    return EngineRequest(prompt, tuple(pictures), Decoding(**{"max_new_tokens": 12} | decoding))
