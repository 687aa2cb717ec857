"""Requests about random pictures."""

from dataclasses import replace

import numpy as np

from deployments.model.engine import Decoding, EngineRequest
from deployments.model.prompt import PromptWriter


def picture(seed, height=112, width=140):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def request_to(loaded, text="what?", pictures=(), deadline=float("inf"), **decoding):
    writer = PromptWriter(loaded.tokenizer, loaded.model.config.image_token_id)
    prompt = writer.write(text, [p.shape[0] * p.shape[1] // 784 for p in pictures])
    return EngineRequest(prompt, tuple(pictures), Decoding(**{"max_new_tokens": 12} | decoding), deadline)


def ending_in(loaded, tokens):
    """The same model, whose answers end at any of these tokens."""
    return replace(loaded, eos_token_ids=tuple(tokens))
