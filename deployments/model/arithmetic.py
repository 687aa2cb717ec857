"""Which of several ways to compute the same this machine is quickest at, measured in a fraction of a second.

Not to be told from what a processor says of itself: some compute bfloat16 in half of float32's time, others in twice.
"""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch.nn.functional import linear

T = TypeVar("T")

ROUNDS = 7
LEAD = 0.8
"""Share of the first way's time within which another one is taken: less gain may be noise."""

TOKENS, WIDTH = 512, 256


def quickest(ways: Mapping[T, Callable[[], object]], clock: Callable[[], float] = time.thread_time) -> T:
    """The first of them, unless another one takes clearly less; each is timed alone, in turns, at its best."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = clock()
            way()
            best[name] = min(best[name], clock() - began)
    first = next(iter(ways))
    lead = min(best, key=lambda name: best[name])
    return lead if best[lead] < LEAD * best[first] else first


@torch.inference_mode()
def quickest_dtype() -> torch.dtype:
    """float32, or bfloat16 where the CPU's matrix products of a vision tower are quicker in it."""

    def product(dtype: torch.dtype) -> Callable[[], object]:
        tokens, weight = (torch.ones(size, WIDTH, dtype=dtype) for size in (TOKENS, 3 * WIDTH))
        return lambda: linear(tokens, weight)

    return quickest({dtype: product(dtype) for dtype in (torch.float32, torch.bfloat16)})
