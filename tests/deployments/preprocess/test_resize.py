"""The size rule and the resampling: transformers' own, plus a limit on the longest edge."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil, smart_resize

from deployments.contract import CELL
from deployments.preprocess.resize import resized, target_size
from deployments.preprocess.settings import PreprocessKnobs

KNOBS = PreprocessKnobs()


def target(width, height):
    return target_size(width, height, KNOBS.longest_edge, KNOBS.min_pixels)


sides = st.tuples(st.integers(1, 9000), st.integers(1, 9000)).filter(lambda s: max(s) <= 200 * min(s))


@given(sides)
def test_every_picture_fits_the_grid_and_the_limits(size):
    width, height = target(*size)
    assert width % CELL == 0
    assert height % CELL == 0
    assert min(width, height) >= CELL
    assert width * height >= KNOBS.min_pixels
    assert max(width, height) <= KNOBS.longest_edge


@given(st.tuples(st.integers(CELL, 1021), st.integers(CELL, 1021)))
def test_within_the_longest_edge_it_is_transformers_rule(size):
    width, height = size
    tall, wide = smart_resize(2, height, width, min_pixels=2 * KNOBS.min_pixels, max_pixels=10**9)
    assert target(width, height) == (wide, tall)


@given(sides)
def test_the_aspect_ratio_is_nearly_kept(size):
    width, height = target(*size)
    if min(width, height) > 4 * CELL:
        assert abs(width / height / (size[0] / size[1]) - 1) < 0.15


def test_pixels_are_those_of_transformers_own_processor():
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (300, 410, 3), dtype=np.uint8))
    ours = resized(picture, target(*picture.size), (0, 0, *picture.size))
    processor = Glm46VImageProcessorPil(size={"shortest_edge": 12544, "longest_edge": 28 * 28 * 15000})
    theirs = processor(picture, do_rescale=False, do_normalize=False, return_tensors="np")
    assert theirs["image_grid_thw"].tolist() == [[1, ours.shape[0] // 14, ours.shape[1] // 14]]
    # Undo the patch order of one frame: (rows, columns, 2, 2, channel, time, 14, 14).
    rows, columns = ours.shape[0] // CELL, ours.shape[1] // CELL
    blocks = theirs["pixel_values"].reshape(rows, columns, 2, 2, 3, 2, 14, 14)[:, :, :, :, :, 0]
    pixels = blocks.transpose(0, 2, 5, 1, 3, 6, 4).reshape(ours.shape)
    assert np.array_equal(ours, pixels.astype(np.uint8))
