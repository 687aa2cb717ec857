"""Pictures as strangers send them: each kind decoded as people see it, each bad file refused with its code."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from deployments.errors import ImageShape, ImageTruncated, NotAnImage, TooManyPixels, UnsupportedFormat
from deployments.preprocess.decode import decode
from deployments.preprocess.settings import FORMATS

LIMIT = 1_000_000
RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 255, (40, 60, 3), dtype=np.uint8))


def encoded(image, kind, **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data):
    return decode(data, FORMATS, LIMIT)


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_read_by_its_content(kind):
    found = decoded(encoded(NOISE, kind))
    assert (found.image.mode, found.image.size) == ("RGB", (60, 40))
    assert (found.source_format, found.source_size, found.size) == (kind, (60, 40), (60, 40))


def test_lossless_pixels_come_through_unchanged():
    assert np.array_equal(np.asarray(decoded(encoded(NOISE, "PNG")).image), np.asarray(NOISE))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(orientation):
    stored = Image.new("RGB", (40, 20), "white")
    stored.paste("red", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decoded(encoded(stored, "PNG", exif=exif))
    image = found.image
    assert found.source_size == (40, 20)
    assert image.size == found.size == ((40, 20) if orientation < 5 else (20, 40))
    # Where the red corner ends up, by the EXIF specification: 1 and 5 top left, 2 and 6 top right, and so on.
    corner = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}[orientation]
    at = (corner[0] * (image.width - 1), corner[1] * (image.height - 1))
    assert image.getpixel(at) == (255, 0, 0)


def test_a_corrupt_exif_block_is_ignored():
    data = encoded(NOISE, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 500)
    assert decoded(data).image.size == (60, 40)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode):
    if mode == "P":
        image = Image.new("P", (30, 30), 0)
        image.putpalette([0, 0, 0, 255, 0, 0])
        data = encoded(image, "PNG", transparency=0)
    else:
        data = encoded(Image.new(mode, (30, 30), 0), "PNG")
    assert decoded(data).image.getpixel((5, 5)) == (255, 255, 255)


def test_half_transparent_red_on_white_is_pink():
    red, green, blue = decoded(encoded(Image.new("RGBA", (30, 30), (255, 0, 0, 128)), "PNG")).image.getpixel((0, 0))
    assert (red, green, blue) == (255, 127, 127)


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 60).astype(np.uint16)[None].repeat(30, 0)
    grey = np.asarray(decoded(encoded(Image.fromarray(ramp), "PNG")).image)[0, :, 0]
    assert grey[0] == 0
    assert grey[-1] == 255
    assert abs(int(grey[30]) - int(ramp[0, 30]) // 257) <= 1


def test_one_bit_and_grey_pictures_are_rgb():
    for mode in ("1", "L"):
        image = decoded(encoded(Image.new(mode, (30, 30), 255 if mode == "L" else 1), "PNG")).image
        assert (image.mode, image.getpixel((0, 0))) == ("RGB", (255, 255, 255))


def test_a_cmyk_jpeg_has_its_colours():
    white, red = Image.new("CMYK", (32, 32), (0, 0, 0, 0)), Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    assert min(decoded(encoded(white, "JPEG")).image.getpixel((9, 9))) > 250
    pixel = decoded(encoded(red, "JPEG")).image.getpixel((9, 9))
    assert pixel[0] > 245
    assert max(pixel[1:]) < 15


def test_only_the_first_frame_of_an_animation_is_read():
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "green", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        assert decoded(data).image.getpixel((3, 3)) == (255, 0, 0), kind


def test_one_pixel_is_a_picture():
    assert decoded(encoded(Image.new("RGB", (1, 1)), "PNG")).image.size == (1, 1)


def png_header(width, height):
    """A PNG that promises so many pixels and ends after the first bytes of them."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 100))


TIFF, AVIF_OR_NOT = encoded(NOISE, "TIFF"), b"\0\0\0\x1cftypavif" + b"\0" * 40
BAD_FILES = [
    ("empty", b"", NotAnImage),
    ("random bytes", bytes(RNG.integers(0, 255, 500, dtype=np.uint8)), NotAnImage),
    ("a JPEG's first bytes", b"\xff\xd8\xff\xe0", ImageTruncated),
    ("two bytes of JPEG", b"\xff\xd8", NotAnImage),
    ("HTML", b"<!doctype html><html></html>", NotAnImage),
    ("text", "订单号".encode(), NotAnImage),
    ("TIFF", TIFF, UnsupportedFormat),
    ("PDF", b"%PDF-1.7\n1 0 obj", UnsupportedFormat),
    ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>', UnsupportedFormat),
    ("PSD", b"8BPS\0\1" + b"\0" * 30, UnsupportedFormat),
    ("ICO", encoded(NOISE, "ICO"), UnsupportedFormat),
    ("AVIF", AVIF_OR_NOT, UnsupportedFormat),
    ("HEIC", b"\0\0\0\x18ftypheic" + b"\0" * 40, UnsupportedFormat),
    ("half a JPEG", encoded(NOISE, "JPEG")[:600], ImageTruncated),
    ("half a PNG", encoded(NOISE, "PNG")[:2000], ImageTruncated),
    ("half a WebP", encoded(NOISE, "WEBP", lossless=True)[:2000], ImageTruncated),
    ("half a BMP", encoded(NOISE, "BMP")[:2000], ImageTruncated),
    ("a huge PNG's header", png_header(14_000, 14_000), TooManyPixels),
    ("more pixels than allowed", encoded(Image.new("1", (1001, 1000)), "PNG"), TooManyPixels),
    ("a thread", encoded(Image.new("1", (1000, 2)), "PNG"), ImageShape),
]  # fmt: skip


@pytest.mark.parametrize(("data", "error"), [row[1:] for row in BAD_FILES], ids=[row[0] for row in BAD_FILES])
def test_each_bad_file_is_refused_with_its_error(data, error):
    with pytest.raises(error) as caught:
        decoded(data)
    assert type(caught.value) is error
    assert len(caught.value.message) > 20


@pytest.mark.parametrize("size", [(0, 0), (0, 7), (7, 0)])
def test_a_zero_sized_png_is_no_picture(size):
    with pytest.raises(NotAnImage):
        decoded(png_header(*size))


def test_a_jpeg_with_a_second_picture_behind_it_is_a_jpeg():
    data = encoded(NOISE, "MPO", save_all=True, append_images=[NOISE.rotate(180)])
    found = decoded(data)
    assert (found.source_format, found.image.size) == ("JPEG", (60, 40))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(("scale", "shrunk"), [(1.0, 1), (0.6, 1), (0.5, 2), (0.26, 2), (0.24, 4), (0.05, 8)])
def test_a_jpeg_is_decoded_no_finer_than_it_is_looked_at(orientation, scale, shrunk):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(NOISE.resize((601, 400)), "JPEG", exif=exif)
    found = decode(data, FORMATS, LIMIT, lambda width, height: scale)
    turned = orientation > 4
    assert found.size == ((400, 601) if turned else (601, 400))
    smaller = (-(-601 // shrunk), -(-400 // shrunk))
    assert found.image.size == (smaller[::-1] if turned else smaller)


def test_a_format_outside_the_list_is_not_opened():
    with pytest.raises(UnsupportedFormat, match="BMP is not supported: convert it to one of PNG"):
        decode(encoded(NOISE, "BMP"), ("PNG",), LIMIT)
