"""Decode steps as CUDA graphs: hundreds of kernels in one launch, for fixed numbers of rows and of columns.

Launching the kernels of a 9B model one by one takes longer than running them. A graph is captured at warm-up for each
pair of sizes; smaller steps are padded with rows that write where nobody reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from deployments.model.rows.cache import RowCache
from deployments.model.rows.decode import Forward


def row_sizes(rows: int) -> list[int]:
    """1, 2, 4, … and the number of rows itself."""
    sizes = [2**power for power in range(rows.bit_length()) if 2**power < rows]
    return [*sizes, rows]


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    fed: torch.Tensor
    logits: torch.Tensor


class GraphedForward:
    """``forward`` replayed from graphs; a size that was not captured runs as it is."""

    def __init__(self, forward: Forward, cache: RowCache, bucket: int) -> None:
        self._forward, self._cache, self._bucket = forward, cache, bucket
        self._graphs: dict[tuple[int, int], _Captured] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self) -> None:
        """Capture every size, the largest first: the smaller ones then fit into its memory."""
        for rows, seen in self._sizes():
            self._graphs[rows, seen] = self._capture(rows, seen)

    def __call__(self, fed: torch.Tensor, seen: int) -> torch.Tensor:
        count = fed.shape[1]
        rows = min(size for size in row_sizes(self._cache.rows) if size >= count)
        captured = self._graphs.get((rows, seen))
        if captured is None:
            return self._forward(fed, seen)
        captured.fed[:, :count].copy_(fed)
        captured.fed[1, count:].fill_(self._cache.length)
        captured.graph.replay()
        return captured.logits[:count]

    def _sizes(self) -> Iterator[tuple[int, int]]:
        length = self._cache.length
        columns = sorted({min(length, seen) for seen in range(self._bucket, length + self._bucket, self._bucket)})
        for seen in reversed(columns):
            for rows in reversed(row_sizes(self._cache.rows)):
                yield rows, seen

    def _capture(self, rows: int, seen: int) -> _Captured:
        fed = torch.zeros(3, rows, dtype=torch.int64, device=self._cache.kv.device)
        fed[1] = self._cache.length
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # the first runs allocate and choose kernels: not inside a capture
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self._forward(fed, seen)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = self._forward(fed, seen)
        return _Captured(graph, fed, logits)
