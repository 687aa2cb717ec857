"""Normalisation and patching on the device, against transformers' own image processor."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil

from deployments.model.families.glm46v.kind import layout_of
from deployments.model.pixels import patchify, token_count

PROCESSOR = Glm46VImageProcessorPil(size={"shortest_edge": 12544, "longest_edge": 28 * 28 * 15000})
LAYOUT = layout_of(PROCESSOR)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("sizes", [[(112, 112)], [(84, 280)], [(252, 336), (112, 84), (1008, 28 * 20)]])
def test_patches_equal_those_of_transformers_image_processor(sizes):
    pictures = [picture(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    ours, grid = patchify(pictures, LAYOUT)
    theirs = PROCESSOR([Image.fromarray(p) for p in pictures], return_tensors="pt")
    assert torch.equal(grid, theirs["image_grid_thw"])
    assert ours.shape == theirs["pixel_values"].shape
    assert (ours - theirs["pixel_values"]).abs().max() < 1e-6


def test_read_only_arrays_as_the_object_store_gives_them_are_taken():
    frozen = picture(112, 112)
    frozen.setflags(write=False)
    assert torch.equal(patchify([frozen], LAYOUT)[0], patchify([frozen.copy()], LAYOUT)[0])


def test_tokens_are_counted_without_pixels():
    patches, _ = patchify([picture(252, 336)], LAYOUT)
    assert token_count(252, 336, LAYOUT) == len(patches) // LAYOUT.merge_size**2 == 108


@pytest.mark.parametrize(
    "bad", [picture(100, 112), picture(112, 112)[:, :, :2], picture(112, 112).astype(np.float32), picture(0, 112)]
)
def test_a_picture_that_does_not_fit_is_refused(bad):
    with pytest.raises(ValueError, match="picture"):
        patchify([bad], LAYOUT)
