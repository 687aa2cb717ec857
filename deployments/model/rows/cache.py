"""The rows: one block of KV cache for all requests, and what tokens see of it. Nothing is allocated per step.

Rows in use are the first ones, without gaps; a row's columns beyond its length are zero, so that nothing left there by
somebody else, be it NaN, can reach an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention

from deployments.model.families.family import KVShape

SPARE_COLUMNS = 256
"""What one more call of the attention costs, in columns of a row looked at in vain."""


class RowCache:
    """``kv`` is (layers, rows, 2 * kv heads, length + 1, head_dim); the last column takes what nobody shall read."""

    def __init__(self, shape: KVShape, rows: int, length: int, dtype: torch.dtype, device: torch.device) -> None:
        size = (shape.layers, rows, 2 * shape.kv_heads, length + 1, shape.head_dim)
        self.kv = torch.zeros(size, dtype=dtype, device=device)
        self.rows, self.length = rows, length

    def spread(self, row: int, others: list[int], length: int) -> None:
        """Give the first ``length`` tokens of a row to others."""
        if others:
            self.kv[:, others, :, :length] = self.kv[:, row : row + 1, :, :length]

    def reorder(self, rows: list[int], sources: list[int], begin: int, end: int) -> None:
        """Columns ``begin`` to ``end`` of ``rows`` become those of ``sources``: beams share the prompt before them."""
        moved = [(row, source) for row, source in zip(rows, sources, strict=True) if row != source]
        if moved and end > begin:
            targets, origins = ([pair[side] for pair in moved] for side in (0, 1))
            self.kv[:, targets, :, begin:end] = self.kv[:, origins, :, begin:end]

    def copy(self, source: int, target: int, length: int) -> None:
        """The first ``length`` tokens of a row go to another one, which is clear."""
        self.kv[:, target, :, :length] = self.kv[:, source, :, :length]

    def clear(self, row: int, length: int) -> None:
        self.kv[:, row, :, :length] = 0

    def save(self, row: int, length: int) -> torch.Tensor:
        """(layers, 2 * kv heads, length, head_dim): a copy of a row's beginning."""
        return self.kv[:, row, :, :length].clone()

    def restore(self, row: int, saved: torch.Tensor) -> None:
        self.kv[:, row, :, : saved.shape[2]] = saved


@dataclass(frozen=True, slots=True)
class Piece:
    """``count`` tokens of a prompt, which go to a row from ``begin`` on and see what stands there before them."""

    row: int
    begin: int
    count: int


class PrefillAttention:
    """For a forward over the pieces of several prompts, one behind the other."""

    def __init__(self, cache: RowCache, pieces: Sequence[Piece]) -> None:
        self._cache, self._pieces = cache, pieces
        self._masks = [self._mask(piece) for piece in pieces]

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        kv, seen = self._cache.kv[layer], torch.empty_like(queries)
        kv_heads, at = kv.shape[1] // 2, 0
        for piece, mask in zip(self._pieces, self._masks, strict=True):
            own, end = slice(at, at + piece.count), piece.begin + piece.count
            kv[piece.row, :, piece.begin : end] = keys_values[own].transpose(0, 1)
            # The queries that share a head of keys stand in as many lots, whose keys are the same memory: none are
            # repeated, and there is a kernel that keeps no scores for it, with a mask too.
            asked = queries[own].view(piece.count, kv_heads, -1, queries.shape[-1]).permute(2, 1, 0, 3)
            keys, values = (
                kv[piece.row, part, :end].expand(len(asked), -1, -1, -1)
                for part in (slice(kv_heads), slice(kv_heads, None))
            )
            found = scaled_dot_product_attention(asked, keys, values, attn_mask=mask, is_causal=mask is None)
            seen[own] = found.permute(2, 1, 0, 3).reshape_as(seen[own])
            at += piece.count
        return seen

    def _mask(self, piece: Piece) -> torch.Tensor | None:
        """What each token sees; None for plain causality, which kernels know by themselves."""
        if piece.begin == 0:
            return None
        size = (piece.count, piece.begin + piece.count)
        return torch.ones(size, dtype=torch.bool, device=self._cache.kv.device).tril(piece.begin)


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring rows from ``row`` on: tokens ``begin`` to ``end`` of those fed, which see ``seen`` columns."""

    row: int
    begin: int
    end: int
    seen: int


def segments(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> list[Segment]:
    """Ascending ``rows``, each with the column of its new token, in as few segments as are worth it.

    Rows of one segment are looked at as far as the longest of them: a long row does not lengthen all others.
    """
    found: list[Segment] = []
    for place, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        if found:
            last = found[-1]
            joined = Segment(last.row, last.begin, place + 1, max(last.seen, column + 1))
            is_next = row == last.row + place - last.begin
            if is_next and _columns(joined) - _columns(last) - (column + 1) <= SPARE_COLUMNS:
                found[-1] = joined
                continue
        found.append(Segment(row, place, place + 1, column + 1))
    return found


def _columns(segment: Segment) -> int:
    return (segment.end - segment.begin) * segment.seen


class DecodeAttention:
    """For a forward over one new token of each of some rows: ``rows`` and ``columns`` (tokens,) say where they go."""

    def __init__(self, cache: RowCache, rows: torch.Tensor, columns: torch.Tensor, parts: Sequence[Segment]) -> None:
        self._cache, self._rows, self._columns, self._segments = cache, rows, columns, parts
        self._masks = [self._mask(segment) for segment in parts]

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        kv = self._cache.kv[layer]
        kv[self._rows, :, self._columns] = keys_values
        kv_heads, parts = kv.shape[1] // 2, []
        # The queries that share a head of keys stand as tokens of one another: no keys are repeated.
        asked = queries.view(len(queries), kv_heads, -1, queries.shape[-1])
        for segment, mask in zip(self._segments, self._masks, strict=True):
            seen = kv[segment.row : segment.row + segment.end - segment.begin, :, : segment.seen]
            parts.append(
                scaled_dot_product_attention(
                    asked[segment.begin : segment.end], seen[:, :kv_heads], seen[:, kv_heads:], attn_mask=mask
                )
            )
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).view_as(queries)

    def _mask(self, segment: Segment) -> torch.Tensor | None:
        """(tokens, 1, 1, seen), to be added to the scores; None where all is seen."""
        if segment.end - segment.begin == 1 and self._columns.device.type == "cpu":
            return None
        columns, kv = self._columns[segment.begin : segment.end], self._cache.kv
        hidden = torch.arange(segment.seen, device=kv.device) > columns[:, None]
        return torch.zeros_like(hidden, dtype=kv.dtype).masked_fill_(hidden, -torch.inf)[:, None, None]
