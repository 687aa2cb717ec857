"""Odd files, one row each: what a browser shows whole is whole, what misses pixels is refused as such."""

import numpy as np
import pytest

from deployments.errors import ImageTruncated, UnsupportedFormat
from deployments.preprocess.decode import decode
from deployments.preprocess.settings import FORMATS
from tests.deployments.preprocess import odd_files
from tests.deployments.preprocess.odd_files import ODD_FILES

NAMES = [odd.name for odd in ODD_FILES]


def close(one, other):
    """The same picture, but for what lossy formats and few colours do to it."""
    difference = np.abs(one.astype(int) - other) if one.shape == other.shape else np.array([255])
    return difference.max() < 60 and difference.mean() < 6


@pytest.mark.parametrize("odd", ODD_FILES, ids=NAMES)
def test_pixels_decide(odd):
    picture = odd_files.pixels()
    if odd.expected == "refused":
        with pytest.raises((ImageTruncated, UnsupportedFormat)):
            decode(odd.data, FORMATS, 1_000_000)
        return
    found = np.asarray(decode(odd.data, FORMATS, 1_000_000).image)
    assert close(found, np.rot90(picture, -1) if odd.turned else picture)
