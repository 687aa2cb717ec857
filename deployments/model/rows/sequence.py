"""A request in flight: what it asked for, which rows it holds, and how far its search has come."""

from dataclasses import dataclass, field

import torch

from deployments.model.engine import Answering, EngineRequest
from deployments.model.rows.beams import Beams, Greedy


@dataclass(slots=True, eq=False)
class Sequence:
    """``rows[i]`` holds beam ``i``; ``length`` tokens of each are in the cache.

    ``delta`` turns a token's index into its rotary position. ``prefix`` is the key of the prompt up to its last picture
    in the prefix store, and ``begin`` tokens came out of there; ``embeddings`` (tokens, hidden size) are those of the
    rest of the prompt and ``positions`` (3, tokens) those of all of it, until it is prefilled. ``told`` of its
    tokens have been passed on. ``admitted`` is when it got its rows; times are those of ``time.perf_counter``.
    """

    id: int
    request: EngineRequest
    future: Answering
    arrived: float
    search: Greedy | Beams
    rows: list[int] = field(default_factory=list)
    length: int = 0
    delta: int = 0
    begin: int = 0
    prefix: bytes = b""
    embeddings: torch.Tensor | None = None
    positions: torch.Tensor | None = None
    admitted: float = 0.0
    told: int = 0
