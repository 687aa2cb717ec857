"""Which sizes decode steps are captured for, and that a replayed step is the eager one (on a GPU)."""

import pytest
import torch

from deployments.model.family import KVShape
from deployments.model.rows.cache import RowCache
from deployments.model.rows.graphs import GraphedForward, row_sizes


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])])
def test_sizes_double_up_to_the_number_of_rows(rows, sizes):
    assert row_sizes(rows) == sizes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_a_replayed_step_is_the_eager_one():
    weight = torch.randn(100, 64, device="cuda")

    def forward(fed, seen):
        return weight[fed[0] % 100] * fed[2][:, None] + seen

    cache = RowCache(KVShape(1, 1, 8), rows=6, length=32, dtype=torch.float32, device=torch.device("cuda"))
    graphed = GraphedForward(forward, cache, bucket=16)
    graphed.capture()
    for count in range(1, 7):
        fed = torch.randint(0, 99, (3, count), device="cuda")
        for seen in (16, 32):
            assert torch.equal(graphed(fed, seen), forward(fed, seen))
