"""Pictures in the request itself: whole and exact, or refused with what to do."""

import base64
import os

import pytest

from deployments.errors import ImageEncoding, ImageMissing, ImageTooLarge
from deployments.ingress.http.openai.data_uri import SLICE_CHARS, decode_data_uri, is_data_uri

HEAD = "data:image/png;base64,"


@pytest.mark.parametrize("size", [1, 2, 3, 1000, SLICE_CHARS * 3 // 4, SLICE_CHARS * 3 // 4 + 1, 2_000_001])
def test_the_bytes_come_out_as_they_went_in(size):
    data = os.urandom(size)
    assert decode_data_uri(HEAD + base64.b64encode(data).decode(), size) == data


@pytest.mark.parametrize(
    "head", ["data:image/jpeg;base64,", "DATA:image/png;BASE64,", " data:image/png;name=a.png;base64,"]
)
def test_the_header_may_be_written_otherwise(head):
    assert is_data_uri(head)
    assert decode_data_uri(head + "YWJj", 10) == b"abc"


BAD = {
    "alphabet": ("@@@@", "check alphabet"),
    "not ASCII": ("图图图图", "check alphabet"),
    "for URLs": ("ab-_", "alphabet for URLs"),
    "padding": ("abc", "check alphabet and padding"),
    "padding inside": ("YQ==" * (SLICE_CHARS // 4) + "YQ==", "check alphabet"),
    "padding at a slice's end": ("AAAA" * (SLICE_CHARS // 4 - 1) + "YQ==" + "YWJj", "padding before its end"),
    "lines": ("YWJj\nYWJj", "line breaks"),
    "spaces": ("YW Jj", "white space"),
}


@pytest.mark.parametrize(("payload", "says"), BAD.values(), ids=BAD.keys())
def test_bad_base64_is_told_what_is_wrong_with_it(payload, says):
    with pytest.raises(ImageEncoding, match=says):
        decode_data_uri(HEAD + payload, 10_000_000)


@pytest.mark.parametrize(
    "uri", ["data:text/plain;base64,YWJj", "data:image/png,abc", "data:", "data:" + "x" * 10_000_000]
)
def test_what_is_no_picture_in_base64_is_refused(uri):
    with pytest.raises(ImageEncoding, match="must look like"):
        decode_data_uri(uri, 10)


def test_an_empty_one_is_no_picture():
    with pytest.raises(ImageMissing):
        decode_data_uri(HEAD, 10)


def test_a_large_one_is_refused_before_it_is_decoded():
    with pytest.raises(ImageTooLarge, match="10 bytes"):
        decode_data_uri(HEAD + "@" * 100, 10)
