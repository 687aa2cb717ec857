"""The tile plan: what of a large picture is shown, for any size and budget."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deployments.contract import CELL, OVERVIEW, Level
from deployments.preprocess.resize import target_size
from deployments.preprocess.tiling import TileBudget, cut, plan

BUDGET = TileBudget(longest_edge=1024, tile_edge=1024, max_tiles=4, tiles_above_edge=2000, min_pixels=6272)
SIDES = st.integers(1, 12_000)
BUDGETS = st.builds(
    TileBudget,
    longest_edge=st.integers(112, 2048),
    tile_edge=st.integers(112, 2048),
    max_tiles=st.integers(0, 16),
    tiles_above_edge=st.integers(28, 4000),
    min_pixels=st.just(6272),
)


@given(SIDES, SIDES, BUDGETS)
def test_the_overview_comes_first_and_small_pictures_are_nothing_else(width, height, budget):
    parts = plan(width, height, budget)
    assert parts[0].place == OVERVIEW
    assert parts[0].box == (0, 0, width, height)
    assert parts[0].size == target_size(width, height, budget.longest_edge, budget.min_pixels)
    if max(width, height) <= budget.tiles_above_edge or budget.max_tiles < 2:
        assert len(parts) == 1
    else:
        assert 2 <= len(parts) - 1 <= budget.max_tiles


@given(st.integers(300, 6000), st.integers(300, 6000), BUDGETS)
def test_tiles_cover_everything_in_reading_order_and_neighbours_overlap(width, height, budget):
    tiles = plan(width, height, budget)[1:]
    assert [tile.place for tile in tiles] == sorted(tile.place for tile in tiles)
    rows, columns = ({tile.place[axis]: (tile.box[1 - axis], tile.box[3 - axis]) for tile in tiles} for axis in (0, 1))
    for spans, length in ((rows, height), (columns, width)) if tiles else ():
        edges = [spans[number] for number in sorted(spans)]
        assert edges[0][0] == 0
        assert edges[-1][1] == length
        assert all(second[0] < first[1] for first, second in pairwise(edges))


@given(SIDES, SIDES, BUDGETS)
def test_every_part_lies_inside_and_is_shown_in_whole_cells(width, height, budget):
    for part in plan(width, height, budget):
        left, top, right, bottom = part.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert part.size[0] % CELL == part.size[1] % CELL == 0


@pytest.mark.parametrize(
    ("size", "grid"), [((4000, 3000), (2, 2)), ((3000, 4000), (2, 2)), ((1170, 4000), (4, 1)), ((8000, 600), (1, 4))]
)
def test_the_grid_follows_the_picture_s_shape(size, grid):
    assert plan(*size, BUDGET)[-1].place == grid


def test_no_tile_more_than_the_detail_needs():
    assert len(plan(2001, 900, BUDGET)) == 1 + 3  # three tiles of 758 show every pixel; four would show no more


def test_a_tile_shows_more_detail_than_the_overview():
    overview, *tiles = plan(4000, 3000, BUDGET)
    for tile in tiles:
        assert tile.size[0] / (tile.box[2] - tile.box[0]) > 1.8 * overview.size[0] / 4000


def test_the_parts_show_their_boxes():
    x = np.tile(np.linspace(0, 255, 2400, dtype=np.uint8)[None, :, None], (1200, 1, 3))
    parts = plan(2400, 1200, BUDGET)
    for part, pixels in zip(parts, cut(Image.fromarray(x), parts), strict=True):
        assert pixels.shape == (part.size[1], part.size[0], 3)
        middle = (part.box[0] + part.box[2]) / 2 / 2400 * 255
        assert abs(float(pixels.mean()) - middle) < 2


@given(SIDES, SIDES, BUDGETS)
def test_less_may_be_shown_at_a_lower_level_never_more(width, height, budget):
    tokens = [sum(part.tokens for part in plan(width, height, budget.at(level))) for level in Level]
    assert tokens == sorted(tokens, reverse=True)
    assert tokens[-1] == plan(width, height, budget)[0].tokens


@given(SIDES, SIDES, BUDGETS, st.integers(16, 8000))
def test_tokens_are_bounded_but_for_the_overview_s(width, height, budget, most):
    parts = plan(width, height, replace(budget, max_tokens=most))
    assert sum(part.tokens for part in parts) <= max(most, parts[0].tokens)


@pytest.mark.parametrize("most_tokens", [None, 10_000, 1000, 700, 324, 1])
def test_a_request_s_own_bound_leaves_tiles_out_but_never_the_overview(most_tokens):
    budget = TileBudget(504, 504, 4, 700, 6272).within(most_tokens)
    parts = plan(3000, 2400, budget)
    assert parts[0].place == OVERVIEW
    assert len(parts) == 1 or most_tokens is None or sum(part.tokens for part in parts) <= most_tokens
