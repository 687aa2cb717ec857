import numpy as np
import pytest
from torch import from_numpy, relu
from torch.nn.functional import conv2d

from deployments.preprocess.safety.convolutions import Kernel, Maps


def kernels_and_weights(shapes, seed=0):
    rng = np.random.default_rng(seed)
    weights = [
        (rng.normal(size=(outputs, 9 * inputs)).astype(np.float32), rng.normal(size=outputs).astype(np.float32), stride)
        for inputs, outputs, stride in shapes
    ]
    return [Kernel.of(*weight) for weight in weights], weights


def torch_says(features, weights):
    found = from_numpy(features.transpose(2, 0, 1)[None].copy())
    for weight, bias, stride in weights:
        kernels = from_numpy(weight.reshape(len(weight), -1, 3, 3))
        found = relu(conv2d(found, kernels, from_numpy(bias), stride, padding=1))
    return found[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("side", [16, 17, 18, 19, 31])
@pytest.mark.parametrize(
    "shapes",
    [[(3, 4, 1)], [(3, 4, 2)], [(3, 5, 2), (5, 7, 1), (7, 2, 2)], [(3, 5, 1), (5, 7, 2), (7, 2, 2), (2, 3, 1)]],
)
def test_maps_are_those_of_torchs_convolutions_at_even_and_odd_sides(side, shapes):
    kernels, weights = kernels_and_weights(shapes)
    maps = Maps(kernels, side)
    for seed in (1, 2):  # the second picture finds the first one's memory
        features = np.random.default_rng(seed).normal(size=(side, side, 3)).astype(np.float32)
        maps.input[...] = features
        np.testing.assert_allclose(maps.run(), torch_says(features, weights), rtol=1e-4, atol=1e-4)
