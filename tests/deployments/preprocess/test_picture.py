from io import BytesIO

import numpy as np
from PIL import Image

from deployments.contract import OVERVIEW
from deployments.preprocess.picture import prepare
from deployments.preprocess.settings import PreprocessKnobs


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
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    tiles = prepare(buffer.getvalue(), PreprocessKnobs(longest_edge=560, tile_edge=560, max_tiles=4))
    assert tiles.places[:1] == (OVERVIEW,)
    assert len(tiles.pixels) == len(tiles.places) == len(tiles.sizes) > 2
    by_place = dict(zip(tiles.places, tiles.pixels, strict=True))
    assert by_place[1, 1].mean() < 60 < 200 < by_place[1, max(column for _, column in by_place)].mean()
