"""Requests about random pictures."""

from dataclasses import replace

import numpy as np

from deployments.model.engine import Decoding, EngineRequest


def picture(seed, height=112, width=140):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def request_to(loaded, text="what?", pictures=(), deadline=float("inf"), **decoding):
    pictures = shown(loaded, pictures)
    prompt = loaded.writer().write(text, [loaded.layout.tokens(one) for one in pictures])
    return EngineRequest(prompt, pictures, Decoding(**{"max_new_tokens": 12} | decoding), deadline)


def shown(loaded, pictures):
    """As the model wants to see them: where it takes one of a fixed size, the first is made one."""
    view = loaded.layout.view
    if view.side is None:
        return tuple(pictures)
    return tuple(np.resize(one, (view.side, view.side, 3)) for one in pictures[:1])


def ending_in(loaded, tokens):
    """The same model, whose answers end at any of these tokens."""
    return replace(loaded, eos_token_ids=tuple(tokens))
