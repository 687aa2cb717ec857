"""3 x 3 convolutions one after the other, in numpy, in memory that is used again.

Every picture has the same size here, so every map has; fresh memory for each would cost as much as the arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A 3 x 3 convolution with zero padding of 1, followed by a ReLU.

    ``rows`` are its three rows, each a (3 * inputs, outputs) matrix: left, middle, right neighbour.
    """

    rows: tuple[Array, Array, Array]
    bias: Array
    stride: int

    @classmethod
    def of(cls, weight: Array, bias: Array, stride: int) -> Self:
        """From a weight of (outputs, inputs * 9), as it is stored: each output's kernel is (inputs, height, width)."""
        outputs = len(weight)
        top, middle, bottom = weight.reshape(outputs, -1, 3, 3).transpose(2, 3, 1, 0).reshape(3, -1, outputs).copy()
        return cls((top, middle, bottom), bias, stride)

    @property
    def inputs(self) -> int:
        return len(self.rows[0]) // 3

    @property
    def outputs(self) -> int:
        return len(self.bias)


class Maps:
    """The memory of one picture's way through the kernels, for one thread at a time."""

    def __init__(self, kernels: Sequence[Kernel], side: int) -> None:
        self._kernels = kernels
        self._padded = [np.zeros((side + 2, side + 2, kernels[0].inputs), np.float32)]
        most_places = most_beside = 0
        for kernel in kernels:
            before, side = side, -(-side // kernel.stride)
            self._padded.append(np.zeros((side + 2, side + 2, kernel.outputs), np.float32))
            most_places = max(most_places, side * side * kernel.outputs)
            most_beside = max(most_beside, (before + 2) * side * 3 * kernel.inputs)
        sizes = (most_places, most_places, most_beside)
        self._sum, self._term, self._beside = (np.empty(size, np.float32) for size in sizes)

    @property
    def input(self) -> Array:
        """(side, side, channels): to be written before ``run``."""
        return self._padded[0][1:-1, 1:-1]

    def run(self) -> Array:
        """What the last kernel makes of the input: (height, width, channels), until the next run."""
        for kernel, (source, target) in zip(self._kernels, pairwise(self._padded), strict=True):
            self._convolve(kernel, source, target[1:-1, 1:-1])
        return self._padded[-1][1:-1, 1:-1]

    def _convolve(self, kernel: Kernel, source: Array, target: Array) -> None:
        shape, places = target.shape, target.shape[0] * target.shape[1]
        total, term = (flat[: target.size].reshape(places, -1) for flat in (self._sum, self._term))
        first, *others = zip(self._rows(kernel, source, shape[0], shape[1]), kernel.rows, strict=True)
        np.matmul(*first, out=total)
        for row, matrix in others:
            total += np.matmul(row, matrix, out=term)
        total += kernel.bias
        np.maximum(total.reshape(shape), 0, out=target)

    def _rows(self, kernel: Kernel, source: Array, height: int, width: int) -> tuple[Array, Array, Array]:
        """Of each place the three neighbours above it, beside it and below it: (places, 3 * inputs) each.

        A row of the source is laid out once; it is above some places, beside others and below others again.
        """
        step, places = kernel.stride, height * width
        strides = (source.strides[0], step * source.strides[1], source.strides[2])
        triples = as_strided(source, (len(source), width, 3 * kernel.inputs), strides)
        laid, at = [], 0
        for first in range(step):  # rows that are above and below the same kind of place stand one after the other
            rows = triples[first::step]
            flat = self._beside[at : at + rows.size]
            np.copyto(flat.reshape(rows.shape), rows)
            laid.append(flat.reshape(-1, 3 * kernel.inputs))
            at += rows.size
        starts = [(laid[row % step], row // step * width) for row in range(3)]
        above, beside, below = (flat[start : start + places] for flat, start in starts)
        return above, beside, below
