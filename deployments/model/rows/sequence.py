"""A request in flight: what it asked for, which rows it holds, and how far its search has come."""

from dataclasses import dataclass, field

import torch

from deployments.model.engine import Answering, EngineRequest
from deployments.model.rows.beams import ROOT, Beams, Greedy, Node


@dataclass(slots=True, eq=False)
class Sequence:
    """``rows[i]`` holds beam ``i``; ``length`` tokens of each are in the cache.

    ``keys`` are those of its pictures, ``features`` what has been seen of them while it waits. ``delta`` turns an index
    of a token into its rotary position. ``prefix`` is the key of the first ``prefix_tokens`` of the prompt, up to its
    last picture, in the prefix store, and ``begin`` tokens came out of there; ``embeddings`` (tokens, hidden size) are
    those of the rest of the prompt and ``positions`` (3, tokens) those of all of it, until it is prefilled. ``told`` is
    up to where its tokens have been passed on. ``admitted`` is when it got its rows, by ``time.perf_counter`` as all
    times; of the wait before, ``seeing_s`` were spent on its pictures.
    """

    id: int
    request: EngineRequest
    future: Answering
    arrived: float
    search: Greedy | Beams
    keys: tuple[bytes, ...] = ()
    prefix: bytes = b""
    prefix_tokens: int = 0
    features: dict[bytes, torch.Tensor] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    length: int = 0
    delta: int = 0
    begin: int = 0
    embeddings: torch.Tensor | None = None
    positions: torch.Tensor | None = None
    admitted: float = 0.0
    told: Node = ROOT
    seeing_s: float = 0.0

    @property
    def written(self) -> int:
        """Columns of its rows that may hold anything: also those of a chunk, or of a step, that failed half done."""
        return max(self.length + 1, self.request.prompt.tokens)

    @property
    def missing(self) -> int:
        """Tokens of the prompt that are not in the rows yet."""
        return self.request.prompt.tokens - self.length
