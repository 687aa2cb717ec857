"""Which sizes decode steps are captured for, and that a replayed step is the eager one (on a GPU)."""

import numpy as np
import pytest
import torch

from deployments.model.families.family import KVShape
from deployments.model.rows.cache import RowCache
from deployments.model.rows.decode import Fed
from deployments.model.rows.graphs import GraphedForward, row_sizes


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])])
def test_sizes_double_up_to_the_number_of_rows(rows, sizes):
    assert row_sizes(rows) == sizes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_a_replayed_step_is_the_eager_one():
    class Forward:
        def run(self, packed, parts):
            return packed[0][:, None] * 1000.0 + packed[2][:, None] + parts[0].seen + torch.zeros(100, device="cuda")

    cache = RowCache(KVShape(1, 1, 8), rows=6, length=32, dtype=torch.float32, device=torch.device("cuda"))
    graphed = GraphedForward(Forward(), cache, bucket=16, vocabulary=100)
    graphed.capture()
    for rows in ([0], [0, 1, 2], [1, 4], [0, 1, 2, 3, 4, 5]):
        for longest in (3, 31):
            rows = np.array(rows)
            fed = Fed(np.arange(len(rows)), rows, np.full(len(rows), longest), np.zeros(len(rows), np.int64))
            seen = 16 if longest < 16 else 32
            assert graphed(fed)[:, 0].tolist() == [1000.0 * token + longest + seen for token in range(len(rows))]
