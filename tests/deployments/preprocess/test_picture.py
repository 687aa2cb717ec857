from io import BytesIO

import numpy as np
from PIL import Image

from deployments.preprocess.picture import prepare
from deployments.preprocess.settings import PreprocessKnobs


def test_bytes_become_one_tile_within_the_limit():
    buffer = BytesIO()
    Image.new("RGB", (3000, 1500), "white").save(buffer, "PNG")
    tiles = prepare(buffer.getvalue(), PreprocessKnobs(longest_edge=560))
    assert tiles.sizes == ((280, 560),)
    assert tiles.source_size == (3000, 1500)
    assert tiles.pixels[0].dtype == np.uint8
    assert tiles.pixels[0].shape == (280, 560, 3)
