"""The rows: one block of KV cache for all requests, a write position per row, nothing allocated per step."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from deployments.model.family import KVShape


@dataclass(frozen=True, slots=True)
class Prefill:
    """A forward over prompts: b rows, each from its own start.

    ``columns`` (b, tokens) are where the tokens' keys go. ``seen`` is how many columns are looked at, 0 when every row
    begins at its start: then the fresh keys are all there is to see.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    seen: int


@dataclass(frozen=True, slots=True)
class Decode:
    """A forward over one new token of each of the first rows, written at ``positions`` (rows,)."""

    positions: torch.Tensor
    seen: int


class RowCache:
    """``kv`` is (layers, 2, rows, kv heads, length + 1, head_dim); the last column takes what nobody shall read."""

    def __init__(self, shape: KVShape, rows: int, length: int, dtype: torch.dtype, device: torch.device) -> None:
        size = (shape.layers, 2, rows, shape.kv_heads, length + 1, shape.head_dim)
        self.kv = torch.zeros(size, dtype=dtype, device=device)
        self.rows, self.length = rows, length
        self.window: Prefill | Decode | None = None
        self.cache = Cache(layers=[_RowLayer(self, *self.kv[layer]) for layer in range(shape.layers)])

    @contextmanager
    def writing(self, window: Prefill | Decode) -> Iterator[Cache]:
        """The cache to hand to a forward that writes there."""
        self.window = window
        try:
            yield self.cache
        finally:
            self.window = None

    def spread(self, row: int, others: list[int], length: int) -> None:
        """Give the first ``length`` tokens of a row to others."""
        if others:
            self.kv[:, :, others, :, :length] = self.kv[:, :, row : row + 1, :, :length]

    def reorder(self, rows: list[int], sources: list[int], begin: int, end: int) -> None:
        """Columns ``begin`` to ``end`` of ``rows`` become those of ``sources``: beams share the prompt before them."""
        moved = [(row, source) for row, source in zip(rows, sources, strict=True) if row != source]
        if moved and end > begin:
            targets, origins = ([pair[side] for pair in moved] for side in (0, 1))
            self.kv[:, :, targets, :, begin:end] = self.kv[:, :, origins, :, begin:end]

    def save(self, row: int, length: int) -> torch.Tensor:
        """(layers, 2, kv heads, length, head_dim): a copy of a row's beginning."""
        return self.kv[:, :, row, :, :length].clone()

    def restore(self, row: int, saved: torch.Tensor) -> None:
        self.kv[:, :, row, :, : saved.shape[3]] = saved


class _RowLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped here
    """One layer's view of the rows, as transformers' attention asks for it."""

    is_compileable = False  # else the model would build a mask of its own
    is_sliding = False

    def __init__(self, rows: RowCache, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values, self._rows = keys, values, rows
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def lazy_initialization(self, *_: Any) -> None:
        """Nothing: the rows are there from the start."""

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Write (rows, kv heads, tokens, head_dim) into the window and return what the tokens may look at."""
        window = self._rows.window
        if isinstance(window, Decode):
            count = keys.shape[0]
            every = torch.arange(count, device=self.device)
            self.keys[every, :, window.positions] = keys[:, :, 0]
            self.values[every, :, window.positions] = values[:, :, 0]
            return self.keys[:count, :, : window.seen], self.values[:count, :, : window.seen]
        assert window is not None
        rows = window.rows[:, None]
        self.keys[rows, :, window.columns] = keys.transpose(1, 2)
        self.values[rows, :, window.columns] = values.transpose(1, 2)
        if not window.seen:
            return keys, values
        return self.keys[window.rows, :, : window.seen], self.values[window.rows, :, : window.seen]

    def get_seq_length(self) -> int:
        return 0  # asked only where every row begins at its start: the causal path without a mask

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_max_length(self) -> int:
        return self._rows.length
