from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from deployments.contract import OVERVIEW, Level
from deployments.preprocess.picture import prepare
from deployments.preprocess.sandbox import Sandbox
from deployments.preprocess.settings import PreprocessKnobs
from deployments.preprocess.tiling import plan


def test_bytes_become_one_tile_within_the_limit():
    buffer = BytesIO()
    Image.new("RGB", (3000, 1500), "white").save(buffer, "PNG")
    tiles = prepare(buffer.getvalue(), PreprocessKnobs(longest_edge=560, max_tiles=0))
    assert tiles.sizes == ((280, 560),)
    assert tiles.places == (OVERVIEW,)
    assert tiles.source_size == (3000, 1500)
    assert tiles.pixels[0].dtype == np.uint8
    assert tiles.pixels[0].shape == (280, 560, 3)


def test_a_large_picture_becomes_an_overview_and_tiles():
    picture = np.zeros((1200, 2400, 3), np.uint8)
    picture[:, 1600:] = 255  # the right is white, also in its tile
    picture[::50] ^= 60  # lines of a pixel: detail, for which there are tiles
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    tiles = prepare(buffer.getvalue(), PreprocessKnobs(longest_edge=560, tile_edge=560, max_tiles=4))
    assert tiles.places[:1] == (OVERVIEW,)
    assert len(tiles.pixels) == len(tiles.places) == len(tiles.sizes) > 2
    by_place = dict(zip(tiles.places, tiles.pixels, strict=True))
    assert by_place[1, 1].mean() < 60 < 200 < by_place[1, max(column for _, column in by_place)].mean()


def encoded(picture, kind, **options):
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(height, width):
    """A picture whose every place has its own colour, and a corner of specks, for whose sake it is cut into tiles."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)
    for left, side in ((0, 1), (60, 2), (120, 4)):  # for decoders that show all of it, a half and a quarter
        specks = np.random.default_rng(0).random((60 // side, 60 // side)) > 0.5
        picture[:60, left : left + 60] = 255 * specks.repeat(side, 0).repeat(side, 1)[..., None]
    return picture


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(1500, 2003), (3001, 4000)])
def test_a_jpeg_s_tiles_show_the_same_places_as_a_png_s(size, orientation):
    """The JPEG is decoded at a fraction of its size; nothing may move by that."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = smooth(*size)
    jpeg = prepare(encoded(picture, "JPEG", quality=95, exif=exif), PreprocessKnobs(tile_edge=560))
    png = prepare(encoded(picture, "PNG", compress_level=1, exif=exif), PreprocessKnobs(tile_edge=560))
    assert jpeg.places == png.places
    assert jpeg.boxes == png.boxes
    for one, other in zip(jpeg.pixels, png.pixels, strict=True):
        assert np.percentile(np.abs(one[..., :2].astype(int) - other[..., :2]), 99) < 12


def test_under_load_there_are_fewer_tiles_of_the_same_picture():
    data = encoded(smooth(1200, 2400), "JPEG")
    knobs = PreprocessKnobs(max_image_tokens=6_500)
    full, fast, holding = (prepare(data, knobs, level) for level in Level)
    budget = knobs.budget
    assert full.sizes == tuple(part.size[::-1] for part in plan(2400, 1200, budget))  # known before decoding
    assert len(full.pixels) > len(fast.pixels) > len(holding.pixels) == 1
    assert full.picture == fast.picture == holding.picture


@pytest.mark.parametrize("most_tokens", [None, 1_500])
def test_a_picture_says_what_level_full_would_have_shown_of_it(most_tokens):
    data, knobs = encoded(smooth(1200, 2400), "JPEG"), PreprocessKnobs(max_image_tokens=6_500, tile_edge=560)
    full, fast, holding = (prepare(data, knobs, level, most_tokens) for level in Level)
    assert full.full_boxes == ()
    assert fast.full_boxes == holding.full_boxes == full.boxes
    assert len({full.boxes, fast.boxes, holding.boxes}) == 3


def test_where_level_full_shows_no_more_nothing_is_said_of_it():
    small, plain = encoded(smooth(300, 400), "JPEG"), encoded(np.full((1500, 2000, 3), 240, np.uint8), "PNG")
    flat = PreprocessKnobs(max_tiles=0)
    for data, knobs in ((small, PreprocessKnobs()), (encoded(smooth(1200, 2400), "JPEG"), flat)):
        assert prepare(data, knobs, Level.FAST).full_boxes == ()
    fast, full = (prepare(plain, PreprocessKnobs(), level) for level in (Level.FAST, Level.FULL))
    assert (fast.full_boxes == ()) == (fast.boxes == full.boxes)


def test_the_sandbox_hands_on_what_level_full_would_have_shown():
    sandbox = Sandbox(1)
    data, knobs = encoded(smooth(1200, 2400), "JPEG"), PreprocessKnobs(max_image_tokens=6_500, tile_edge=560)
    full, fast = (sandbox.prepare(data, knobs, level) for level in (Level.FULL, Level.FAST))
    sandbox.close()
    assert (full.full_boxes, fast.full_boxes) == ((), full.boxes)


def test_the_digest_tells_pictures_apart_by_every_pixel_and_by_how_they_are_shown():
    picture = smooth(300, 400)
    changed = picture.copy()
    changed[299, 399, 2] ^= 1
    knobs = PreprocessKnobs()
    original = prepare(encoded(picture, "PNG"), knobs).picture
    assert prepare(encoded(picture, "BMP"), knobs).picture == original
    others = [
        prepare(encoded(changed, "PNG"), knobs).picture,
        prepare(encoded(picture.reshape(400, 300, 3), "PNG"), knobs).picture,
        prepare(encoded(picture, "PNG"), PreprocessKnobs(max_tiles=2)).picture,
    ]
    assert len({original, *others}) == 4


def test_an_enlarged_picture_is_shown_as_the_one_it_was():
    letters = np.zeros((252, 336, 3), np.uint8)
    letters[...] = np.random.default_rng(0).random((63, 84, 1)).repeat(4, 0).repeat(4, 1) > 0.5
    letters[::5] = 1  # lines of a pixel
    small = Image.fromarray(letters * 255)
    knobs = PreprocessKnobs(longest_edge=504, tile_edge=504, tiles_above_edge=700)
    sizes = prepare(encoded(np.asarray(small), "PNG"), knobs).sizes
    for factor in (2, 3, 4):
        large = small.resize((336 * factor, 252 * factor), Image.Resampling.NEAREST)
        tiles = prepare(encoded(np.asarray(large), "PNG"), knobs)
        assert tiles.sizes == sizes
        assert tiles.boxes == ((0, 0, *large.size),)
        assert tiles.size == large.size


def test_a_few_small_letters_on_a_large_plain_picture_keep_its_tiles():
    picture = np.full((1500, 2000, 3), 240, np.uint8)
    picture[100:1400, 100:1900] = 90
    knobs = PreprocessKnobs(longest_edge=504, tile_edge=504, tiles_above_edge=700)
    assert len(prepare(encoded(picture, "PNG"), knobs).pixels) == 1
    picture[700:712, 900:960:3] = 255  # twenty strokes of a pixel
    assert len(prepare(encoded(picture, "PNG"), knobs).pixels) > 1
