"""Decode a picture that a stranger sent, into an RGB picture on white, or say what is wrong with it.

The format is read from the bytes, never from a name or a header; formats outside the list are not even opened; the
pixel count is checked before any pixel is decoded; only the first frame of an animation is read.
"""

from io import BytesIO

from PIL import Image, ImageOps, UnidentifiedImageError

from deployments.errors import ImageShape, ImageTruncated, NotAnImage, TooManyPixels, UnsupportedFormat
from deployments.preprocess.settings import Format

DAMAGED = "the picture ends early or is damaged: send the whole file again"
MAX_ASPECT_RATIO = 200
"""What transformers' GLM image processor accepts (``smart_resize``)."""

# Leading bytes by which a file that Pillow did not open can still be named in the message.
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"), (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"), (b"%PDF", "PDF"), (b"%!PS", "EPS"), (b"<svg", "SVG"), (b"8BPS", "PSD"), (b"\0\0\1\0", "ICO"),
    (b"icns", "ICNS"), (b"SIMPLE", "FITS"),
)  # fmt: skip
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"avif": "AVIF", b"avis": "AVIF", b"WEBP": "WEBP"}

# Pillow's own guard only warns up to twice its limit and is process-wide; ours is per request and exact.
Image.MAX_IMAGE_PIXELS = None


def decode(data: bytes, formats: tuple[Format, ...], max_pixels: int) -> tuple[Image.Image, Format, tuple[int, int]]:
    """The first frame as an upright RGB picture on white, its format, and its stored (width, height).

    Raises:
        NotAnImage: the bytes are no picture at all (or empty).
        UnsupportedFormat: a picture, but of a format outside ``formats``.
        TooManyPixels: width times height is above ``max_pixels``.
        ImageShape: a side is zero, or one side is more than 200 times the other.
        ImageTruncated: the file ends early or its data is damaged.
    """
    image = _opened(data, formats)
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixels(
            f"the picture has {width}x{height} pixels, more than the {max_pixels} allowed: send it smaller"
        )
    if min(width, height) == 0 or max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ImageShape(f"the picture is {width}x{height}: one side may be at most {MAX_ASPECT_RATIO} times the other")
    try:
        image.seek(0)
        image.load()
    except Exception as fault:  # decoders raise OSError, SyntaxError, ValueError, EOFError, struct.error and more
        raise ImageTruncated(DAMAGED) from fault
    kind: Format = image.format  # type: ignore[assignment]  # one of `formats`: nothing else is opened
    return _on_white(_upright(image)), kind, (width, height)


def _opened(data: bytes, formats: tuple[Format, ...]) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        kind = _signature(data)
    except Exception as fault:  # a recognised header with a damaged body
        raise ImageTruncated(DAMAGED) from fault
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


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; a corrupt EXIF block is ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF is hostile input too, and the picture is fine without it
        return image


def _on_white(image: Image.Image) -> Image.Image:
    """RGB, with whatever is transparent on white, and 16 bits a channel scaled, not clipped."""
    if image.mode.startswith("I"):  # "I", "I;16" and its byte orders: 16 bits of grey
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(ground, picture).convert("RGB")
    return image.convert("RGB")
