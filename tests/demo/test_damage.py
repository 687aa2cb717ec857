"""What damage does to a waybill: it changes the picture and keeps the glyphs where the characters are."""

from random import Random

import numpy as np
import pytest

from demo import damage
from demo.canvas import Glyph

PAGE = np.full((252, 336, 3), 240, np.uint8)
PAGE[60:80, 40:60] = 0
GLYPHS = (Glyph("黑", 50, 70),)
DESK = (10, 200, 10)


@pytest.mark.parametrize("kind", damage.KINDS)
def test_each_kind_changes_the_picture_and_not_its_shape(kind):
    pixels, glyphs = damage.KINDS[kind](PAGE, GLYPHS, Random(1), DESK)
    assert pixels.shape == PAGE.shape
    assert pixels.dtype == np.uint8
    assert not np.array_equal(pixels, PAGE)
    assert [glyph.character for glyph in glyphs] == ["黑"]


@pytest.mark.parametrize("seed", range(8))
def test_a_tilted_glyph_is_where_its_ink_is(seed):
    pixels, ((_, x, y),) = damage.tilt(PAGE, GLYPHS, Random(seed), DESK)
    ys, xs = np.nonzero(pixels.sum(-1) < 100)
    assert (xs.mean(), ys.mean()) == (pytest.approx(x, abs=1), pytest.approx(y, abs=1))
    assert tuple(pixels[0, 0]) == DESK or tuple(pixels[-1, 0]) == DESK


def test_tilts_stay_within_eight_degrees():
    ((_, x, y),) = damage.turned((Glyph("a", 110, 0),), 10, 0, damage.MOST_TILT)
    assert np.degrees(np.arctan2(-y, x - 10)) == pytest.approx(8)  # counter-clockwise is up


def test_low_contrast_keeps_at_most_45_percent():
    pixels, _ = damage.low_contrast(PAGE, GLYPHS, Random(2), DESK)
    assert int(pixels.max()) - int(pixels.min()) <= 0.45 * 240


def test_pictures_suffer_none_one_or_two_kinds_in_a_fixed_order():
    chosen = [damage.chosen(Random(seed)) for seed in range(500)]
    assert {len(kinds) for kinds in chosen} == {0, 1, 2}
    assert {kind for kinds in chosen for kind in kinds} == set(damage.KINDS)
    order = list(damage.KINDS)
    assert all(list(kinds) == sorted(kinds, key=order.index) for kinds in chosen)
