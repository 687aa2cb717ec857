"""The rows: what is looked at of them costs what they are, not where they are or how long others are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deployments.model.families.family import KVShape
from deployments.model.rows.cache import SPARE_COLUMNS, Piece, PrefillAttention, RowCache, segments


def looked_at(parts):
    return sum((part.end - part.begin) * part.seen for part in parts)


def test_one_long_row_among_short_ones_is_looked_at_by_itself():
    columns = np.array([50] * 8 + [2000] + [50] * 7)
    parts = segments(np.arange(16), columns)
    assert looked_at(parts) == 15 * 51 + 2001
    assert [part.seen for part in parts] == [51, 2001, 51]


def test_rows_of_about_one_length_are_looked_at_together():
    assert len(segments(np.arange(16), 100 + np.arange(16))) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3000)), min_size=1, max_size=16))
def test_every_row_is_looked_at_as_far_as_it_is_long_and_little_further(held):
    rows = np.array([row for row, (is_held, _) in enumerate(held) if is_held] or [0])
    columns = np.array([held[row][1] for row in rows])
    parts = segments(rows, columns)
    assert [place for part in parts for place in range(part.begin, part.end)] == list(range(len(rows)))
    for part in parts:
        own = rows[part.begin : part.end]
        assert own.tolist() == list(range(part.row, part.row + len(own)))
        assert part.seen == columns[part.begin : part.end].max() + 1
    assert looked_at(parts) <= (columns + 1).sum() + SPARE_COLUMNS * len(rows)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (8, 2), (6, 1)])
@pytest.mark.parametrize("begin", [0, 9])
def test_a_piece_of_a_prompt_sees_itself_and_what_stands_before_it(heads, kv_heads, begin):
    """As by the plain formula, each head of queries with its own head of keys."""
    count, head_dim = 7, 16
    cache = RowCache(KVShape(1, kv_heads, head_dim), 3, 32, torch.float64, torch.device("cpu"))
    cache.kv[0, 1, :, :begin] = torch.randn(2 * kv_heads, begin, head_dim, dtype=torch.float64)
    queries = torch.randn(count, heads, head_dim, dtype=torch.float64)
    fresh = torch.randn(count, 2 * kv_heads, head_dim, dtype=torch.float64)
    found = PrefillAttention(cache, [Piece(1, begin, count)])(0, queries, fresh)
    known = torch.cat([cache.kv[0, 1, :, :begin], fresh.transpose(0, 1)], 1)
    for token in range(count):
        for head in range(heads):
            own = head // (heads // kv_heads)
            keys, values = known[own, : begin + token + 1], known[kv_heads + own, : begin + token + 1]
            weights = (keys @ queries[token, head] / head_dim**0.5).softmax(0)
            assert torch.allclose(found[token, head], weights @ values)
