"""Decode a picture that a stranger sent, into an RGB picture on white, or say what is wrong with it.

The format is read from the bytes, never from a name or a header; formats outside the list are not even opened; the
pixel count is checked before any pixel is decoded; only the first frame of an animation is read.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFile, UnidentifiedImageError

from deployments.errors import ImageShape, ImageTruncated, NotAnImage, TooManyPixels, UnsupportedFormat
from deployments.preprocess.containers import jpeg_scans, plain
from deployments.preprocess.containers.plain import DAMAGED, Plain
from deployments.preprocess.settings import Format

MAX_ASPECT_RATIO = 200
"""What transformers' GLM image processor accepts (``smart_resize``)."""

# Leading bytes by which a file that Pillow did not open can still be named in the message.
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"), (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"), (b"%PDF", "PDF"), (b"%!PS", "EPS"), (b"<svg", "SVG"), (b"8BPS", "PSD"), (b"\0\0\1\0", "ICO"),
    (b"icns", "ICNS"), (b"SIMPLE", "FITS"), (b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
)  # fmt: skip
_BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"heim": "HEIC", b"heis": "HEIC", b"mif1": "HEIC",
    b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF", b"WEBP": "WEBP",
}  # fmt: skip

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip

# Pillow's own guard only warns up to twice its limit and is process-wide; ours is per request and exact.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright RGB picture on white, whose metadata is gone.

    ``size`` is the upright (width, height) of the file; ``image`` may be smaller by a whole factor, the same on both
    sides. ``source_size`` is as stored, before turning.
    """

    image: Image.Image
    size: tuple[int, int]
    source_format: Format
    source_size: tuple[int, int]


def decode(
    data: bytes,
    formats: tuple[Format, ...],
    max_pixels: int,
    scale_of: Callable[[int, int], float] = lambda width, height: 1.0,
) -> Decoded:
    """The first frame of ``data``.

    ``scale_of`` is asked for the stored (width, height), before any pixel is decoded, at which scale the picture will
    be looked at; a JPEG is then decoded at 1/2, 1/4 or 1/8 if that shows all of it, in a fraction of the time.

    Raises:
        NotAnImage: the bytes are no picture at all (or empty), or a side is zero.
        UnsupportedFormat: a picture, but of a format outside ``formats``.
        TooManyPixels: width times height is above ``max_pixels``.
        ImageShape: one side is more than 200 times the other.
        ImageTruncated: the file ends early or its data is damaged.
    """
    kind = _signature(data)
    file = plain(kind, data) if kind in formats else Plain(data)
    image = _opened(file.data, kind, formats)
    width, height = stored = image.size
    _check_size(width, height, max_pixels)
    scale = scale_of(width, height)
    try:
        image.draft(None, (max(1, int(width * scale)), max(1, int(height * scale))))
        image.seek(0)
        if file.scans:
            jpeg_scans.load(image, file)
        image.load()
    except (MemoryError, ImageTruncated):
        raise
    except Exception as fault:  # decoders raise OSError, SyntaxError, ValueError, EOFError, struct.error and more
        raise ImageTruncated(DAMAGED) from fault
    upright = _on_white(image.transpose(_TURNS[file.turn]) if file.turn in _TURNS else image)
    size = (height, width) if file.turn >= 5 else stored
    return Decoded(upright, size, image.format, stored)  # type: ignore[arg-type]  # nothing but `formats` is opened


def _opened(data: bytes, kind: str | None, formats: tuple[Format, ...]) -> ImageFile.ImageFile:
    try:
        return Image.open(BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        pass
    except Exception as fault:  # a recognised header with a damaged body
        raise ImageTruncated(DAMAGED) from fault
    if kind == "PNG" and len(data) >= 24:  # Pillow takes one without pixels for no PNG
        width, height = struct.unpack(">II", data[16:24])
        _check_size(width, height, max_pixels=1 << 64)
    if kind in formats:
        raise ImageTruncated(DAMAGED)
    if kind is not None:
        raise UnsupportedFormat(f"{kind} is not supported: convert it to one of {', '.join(formats)}")
    raise NotAnImage(f"the file is not a picture: send one of {', '.join(formats)}")


def _signature(data: bytes) -> str | None:
    """The format that the leading bytes announce; RIFF and ISO media files carry theirs at offset 8."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    return _BRANDS.get(data[8:12]) if data[:4] == b"RIFF" or data[4:8] == b"ftyp" else None


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if min(width, height) < 1:
        raise NotAnImage(f"the picture is {width}x{height}: there is nothing in it")
    if width * height > max_pixels:
        raise TooManyPixels(
            f"the picture has {width}x{height} pixels, more than the {max_pixels} allowed: send it smaller"
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ImageShape(f"the picture is {width}x{height}: one side may be at most {MAX_ASPECT_RATIO} times the other")


def _on_white(image: Image.Image) -> Image.Image:
    """RGB, with whatever is transparent on white, and 16 bits a channel scaled, not clipped."""
    if image.mode.startswith("I"):  # "I", "I;16" and its byte orders: 16 bits of grey
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    if image.has_transparency_data:
        picture = image if image.mode == "RGBA" else image.convert("RGBA")
        ground = Image.new("RGB", picture.size, "white")
        ground.paste(picture, mask=picture)  # with its own transparency; in a third of alpha_composite's memory
        return ground
    return image if image.mode == "RGB" else image.convert("RGB")
