"""Decode steps as CUDA graphs: hundreds of kernels in one launch, for fixed numbers of rows and of columns.

Launching the kernels of a 9B model one by one takes longer than running them. A graph is captured at warm-up for each
pair of sizes; smaller steps are padded with rows that write where nobody reads.
"""

import logging

import numpy as np
import torch

from deployments.model.families.family import Family
from deployments.model.rows.cache import RowCache, Segment
from deployments.model.rows.decode import EagerForward, Fed, Forward
from deployments.model.settings import RowSettings

logger = logging.getLogger("ray.serve")

MANY = 200
"""Graphs whose capture takes a minute, and more memory than some cards have to spare."""


def row_sizes(rows: int) -> list[int]:
    """1, 2, 4, … and the number of rows itself."""
    sizes = [2**power for power in range(rows.bit_length()) if 2**power < rows]
    return [*sizes, rows]


def sizes(rows: int, length: int, bucket: int) -> list[tuple[int, int]]:
    """(rows, columns seen) of the graphs, the largest first."""
    columns = sorted({min(length, seen) for seen in range(bucket, length + bucket, bucket)}, reverse=True)
    return [(size, seen) for seen in columns for size in reversed(row_sizes(rows))]


class GraphedForward:
    """``forward`` replayed from graphs. All of them read from one place and write their logits to one."""

    def __init__(self, forward: EagerForward, cache: RowCache, bucket: int, vocabulary: int) -> None:
        self._forward, self._cache, self._bucket = forward, cache, bucket
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        device = cache.kv.device
        self._idle = np.zeros((4, cache.rows), np.int64)
        self._idle[1], self._idle[2] = np.arange(cache.rows), cache.length
        self._fed = torch.from_numpy(self._idle).to(device)
        self._logits = torch.empty(cache.rows, vocabulary, dtype=torch.float32, device=device)

    def capture(self) -> None:
        """Capture every size, the largest first: the smaller ones then fit into its memory."""
        found = sizes(self._cache.rows, self._cache.length, self._bucket)
        if len(found) > MANY:
            logger.warning(
                "%d CUDA graphs are captured for %d rows of %d tokens: a larger args.model.rows.bucket makes fewer",
                len(found), self._cache.rows, self._cache.length,
            )  # fmt: skip
        pool = torch.cuda.graph_pool_handle()
        stream = torch.cuda.Stream(self._cache.kv.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for rows, seen in found:
                for _ in range(2):  # the first runs allocate and choose kernels: not inside a capture
                    self._run(rows, seen)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool, stream=stream):
                    self._run(rows, seen)
                self._graphs[rows, seen] = graph
        torch.cuda.current_stream().wait_stream(stream)

    def __call__(self, fed: Fed) -> torch.Tensor:
        most = int(fed.rows[-1]) + 1
        rows = min(size for size in row_sizes(self._cache.rows) if size >= most)
        seen = min(self._cache.length, -(-(int(fed.columns.max()) + 1) // self._bucket) * self._bucket)
        packed = self._idle.copy()  # a row that does not run writes where nobody reads
        packed[:, fed.rows] = fed.tokens, fed.rows, fed.columns, fed.positions
        self._fed.copy_(torch.from_numpy(packed))
        self._graphs[rows, seen].replay()
        return self._logits[torch.from_numpy(fed.rows).to(self._logits.device)]

    def _run(self, rows: int, seen: int) -> None:
        self._logits[:rows] = self._forward.run(self._fed[:, :rows], [Segment(0, 0, rows, seen)])


@torch.inference_mode()
def forward_for(family: Family, cache: RowCache, settings: RowSettings) -> Forward:
    """The decode forward, on a GPU as graphs if the settings say so."""
    eager = EagerForward(family, cache)
    if cache.kv.device.type != "cuda" or not settings.cuda_graphs:
        return eager
    graphed = GraphedForward(eager, cache, settings.bucket, family.widths.vocabulary)
    graphed.capture()
    return graphed
