"""Pictures that are odd in what stands around their pixels: one row each, with how a browser shows them.

``whole``: Chromium shows every pixel; ``part``: it shows some of them, or wrong ones; ``none``: it shows nothing.
``test_referee.py`` asks it. What is whole there is whole here; anything else is refused, but for the rows that say so.
"""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def pixels(width=96, height=64):
    """Smooth, so that a lossy format keeps it, and no two places alike."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([40 + x * 200 // width, 30 + y * 200 // height, 80 + (x + y) * 100 // (width + height)], -1).astype(
        np.uint8
    )


PICTURE = Image.fromarray(pixels())


def encoded(kind, image=PICTURE, **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(turn, order="<"):
    """A TIFF block with nothing but an orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, ORIENTATION, 3, 1, turn, 0, 0)


def xmp(turn):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{turn}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def chunk(kind, body, crc=None):
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)
    )


def png_chunks(data):
    """(kind, body) of each."""
    at, found = 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def png(*extra, before="IDAT", image=PICTURE, end=b"\0\0\0\0IEND\xaeB`\x82", **options):
    """A PNG with raw chunks put in front of its first ``IDAT`` or its ``IEND``, whose image data stand in two chunks."""
    chunks = png_chunks(encoded("PNG", image, **options))
    data = b"".join(body for kind, body in chunks if kind == b"IDAT")
    head = b"".join(chunk(kind, body) for kind, body in chunks if kind not in (b"IDAT", b"IEND"))
    half = chunk(b"IDAT", data[: len(data) // 2]), chunk(b"IDAT", data[len(data) // 2 :])
    first, last = (b"".join(extra), b"") if before == "IDAT" else (b"", b"".join(extra))
    between = b"".join(extra) if before == "between" else b""
    if before == "between":
        first = last = b""
    return SIGNATURE + head + first + half[0] + between + half[1] + last + end


def segment(marker, body):
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg(*extra, image=PICTURE, **options):
    """A JPEG with raw bytes put behind its start marker."""
    data = encoded("JPEG", image, **({"quality": 95} | options))
    return data[:2] + b"".join(extra) + data[2:]


def before(data, marker, extra):
    at = data.index(bytes((0xFF, marker)))
    return data[:at] + extra + data[at:]


def riff(*chunks, size=None):
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for kind, b in chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def webp_chunks(data):
    at, found = 12, []
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        found.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found


def webp(*extra, flags=0, size=None, first=(), **options):
    """An extended WebP with chunks behind (or, ``first``, in front of) its picture."""
    picture = [c for c in webp_chunks(encoded("WEBP", **({"quality": 95} | options))) if c[0] != b"VP8X"]
    extended = bytes((flags, 0, 0, 0)) + (95).to_bytes(3, "little") + (63).to_bytes(3, "little")
    return riff((b"VP8X", extended), *first, *picture, *extra, size=size)


def gif_with(extension):
    data = encoded("GIF")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:at] + extension + data[at:]


def bmp(header_size=40, top_down=False, file_size=None, compression=0, gap=0):
    """24 bits a pixel, with a header of 12, 40, 52, 56, 64, 108 or 124 bytes."""
    height, width = 64, 96
    rows = pixels()[..., ::-1]
    body = (rows if top_down else rows[::-1]).tobytes()
    if header_size == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, 24)
    else:
        header = struct.pack(
            "<IiiHHIIiiII", header_size, width, -height if top_down else height, 1, 24, compression, 0, 0, 0, 0, 0
        )
        header += b"\0" * (header_size - 40)
    start = 14 + len(header) + gap
    total = start + len(body) if file_size is None else file_size
    return b"BM" + struct.pack("<IHHI", total, 0, 0, start) + header + b"\0" * gap + body


def animated(kind, **options):
    others = [Image.new("RGB", PICTURE.size, colour) for colour in ("green", "blue")]
    return encoded(kind, save_all=True, append_images=others, duration=100, **options)


@dataclass(frozen=True)
class Odd:
    name: str
    data: bytes
    browser: str = "whole"
    turned: bool = False
    here: str | None = None  # where it is not as in the browser

    @property
    def expected(self):
        return self.here or ("whole" if self.browser == "whole" else "refused")


BOMB = zlib.compress(b"\0" * 30_000_000, 9)
PROFILE = zlib.compress(bytes(range(256)) * 8000)
BAD_CRC = 0xDEADBEEF
TEXT = b"Comment\0" + b"x" * 40
RESTARTS = {"restart_marker_blocks": 2}
WHOLE_PNG, WHOLE_JPEG, WHOLE_GIF = encoded("PNG"), jpeg(), encoded("GIF")
PLAIN_GIF = encoded("GIF", interlace=0)
PALETTE_PNG = encoded("PNG", PICTURE.quantize(256))
PROGRESSIVE = jpeg(progressive=True)
SCANS = [i for i in range(len(PROGRESSIVE) - 1) if PROGRESSIVE[i : i + 2] == b"\xff\xda"]
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (164, 196, 3), dtype=np.uint8))
LONG_JPEG = encoded("JPEG", NOISE, quality=90)


def scan_of(data):
    """Where a baseline JPEG's entropy-coded data begin."""
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def bad_crc(data, kind):
    at = data.index(kind)
    at += 4 + int.from_bytes(data[at - 4 : at], "big")
    return data[:at] + b"\xde\xad\xbe\xef" + data[at + 4 :]


PNGS = [
    Odd("png with a text of 30 MB, compressed", png(chunk(b"zTXt", b"a\0\0" + BOMB))),
    Odd("png with an international text of 30 MB", png(chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB))),
    Odd("png with many texts", png(*[chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 1_000_000))] * 70)),
    Odd("png with a profile of 30 MB, compressed", png(chunk(b"iCCP", b"a\0\0" + BOMB))),
    Odd("png with a profile of 2 MB", png(chunk(b"iCCP", b"a\0\0" + PROFILE))),
    Odd("png with a broken profile", png(chunk(b"iCCP", b"a\0\0" + PROFILE[:50]))),
    Odd("png with a profile without a name", png(chunk(b"iCCP", b"\0"))),
    Odd("png with an empty profile", png(chunk(b"iCCP", b""))),
    Odd("png with a text of 30 MB behind the pixels", png(chunk(b"zTXt", b"a\0\0" + BOMB), before="IEND")),
    Odd("png with EXIF of 2 MB", png(chunk(b"eXIf", exif(1) + b"\0" * 2_000_000))),
    Odd("png with broken EXIF", png(chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"))),
    Odd("png with a wrong checksum on a text", png(chunk(b"tEXt", TEXT, BAD_CRC))),
    Odd("png with a wrong checksum on a profile", png(chunk(b"iCCP", b"a\0\0" + PROFILE, BAD_CRC))),
    Odd("png with a wrong checksum on a text behind the pixels", png(chunk(b"tEXt", TEXT, BAD_CRC), before="IEND")),
    Odd("png with a wrong checksum on gAMA", png(chunk(b"gAMA", struct.pack(">I", 45455), BAD_CRC))),
    Odd("png with a wrong checksum on pHYs", png(chunk(b"pHYs", struct.pack(">IIB", 1, 1, 0), BAD_CRC))),
    Odd("png with an unknown chunk", png(chunk(b"tuWn", b"x" * 100))),
    Odd("png with an unknown chunk, wrong checksum", png(chunk(b"tuWn", b"x" * 100, BAD_CRC))),
    Odd("png with an unknown critical chunk", png(chunk(b"TUWN", b"x" * 100)), "none"),
    Odd("png with a short pHYs", png(chunk(b"pHYs", b"\0"))),
    Odd("png with a short gAMA", png(chunk(b"gAMA", b"\0"))),
    Odd("png with a short cHRM", png(chunk(b"cHRM", b"\0\0"))),
    Odd("png with a short sRGB", png(chunk(b"sRGB", b""))),
    Odd("png with two sRGB", png(chunk(b"sRGB", b"\0"), chunk(b"sRGB", b"\0"))),
    Odd("png with two pHYs", png(*[chunk(b"pHYs", struct.pack(">IIB", 1, 1, 0))] * 2)),
    Odd("png with a wrong tIME", png(chunk(b"tIME", b"\xff" * 7))),
    Odd("png with a text without an end", png(chunk(b"tEXt", b"no separator"))),
    Odd("png with a text that is not Latin", png(chunk(b"iTXt", b"\xff\xfe\0\0\0\0\0\xff\xff"))),
    Odd("png with an unknown compression of a text", png(chunk(b"zTXt", b"a\0\7xxxx"))),
    Odd("png with a tRNS of the wrong size", png(chunk(b"tRNS", b"\0\1"))),
    Odd("png with a tRNS that is empty", png(chunk(b"tRNS", b""))),
    Odd("png with a histogram that is wrong", png(chunk(b"hIST", b"\0\1\0"))),
    Odd("png with an acTL that is short", png(chunk(b"acTL", b"\0"))),
    Odd("png with an acTL of no frames", png(chunk(b"acTL", b"\0" * 8))),
    Odd("png with an fcTL that is wrong", png(chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", b"\xff" * 26)), browser='none', here='whole'),
    Odd("png without IEND", png(end=b"")),
    Odd("png with half an IEND", png(end=b"\0\0\0\0IE")),
    Odd("png with a wrong checksum on IEND", png(end=chunk(b"IEND", b"", BAD_CRC))),
    Odd("png with bytes behind its end", png() + b"trailing bytes" * 1000),
    Odd("png with a second png behind it", png() + encoded("PNG", Image.new("RGB", (9, 9)))),
    Odd("png with garbage between its chunks", png(b"garbage!"), "none"),
    Odd("png with a text between its image data", png(chunk(b"tEXt", TEXT), before="between"), browser='part', here='whole'),
    Odd("png with its last image data gone", png(end=b"")[:-60], "part"),
    Odd("png with half of its image data", WHOLE_PNG[: len(WHOLE_PNG) // 2], "part"),
    Odd("png cut in a text behind the pixels", png(end=struct.pack(">I", 500) + b"tEXtabc")),
    Odd("png with a chunk of impossible length behind the pixels", png(end=b"\xff\xff\xff\xfftEXtabc")),
    Odd("png whose EXIF turns it", png(chunk(b"eXIf", exif(6))), turned=True),
    Odd("png whose EXIF would turn it, behind its pixels", png(chunk(b"eXIf", exif(6)), before="IEND")),
    Odd("png whose XMP alone would turn it", png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6)))),
    Odd("png whose raw profile would turn it", png(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n      26\n" + (b"Exif\0\0" + exif(6)).hex().encode()))),
    Odd("animated png", animated("PNG")),
    Odd("animated png whose second frame is cut", animated("PNG")[:-60]),
    Odd("png with a wrong checksum on its image data", bad_crc(WHOLE_PNG, b"IDAT")),
    Odd("png with a wrong checksum on its header", bad_crc(WHOLE_PNG, b"IHDR"), "none"),
    Odd("png with a wrong checksum on its palette", bad_crc(PALETTE_PNG, b"PLTE"), "none"),
    Odd("png through a text transfer to Windows", WHOLE_PNG.replace(b"\n", b"\r\n"), "none"),
    Odd("png through a text transfer to Unix", WHOLE_PNG.replace(b"\r\n", b"\n"), "none"),
]  # fmt: skip

JPEGS = [
    Odd("jpeg without its end marker", WHOLE_JPEG[:-2], browser='part', here='whole'),
    Odd("jpeg with half its end marker", WHOLE_JPEG[:-1], browser='part', here='whole'),
    Odd("jpeg with bytes behind its end", WHOLE_JPEG + b"trailing" * 1000),
    Odd("jpeg with a second behind it", WHOLE_JPEG + jpeg(image=Image.new("RGB", (9, 9)))),
    Odd("jpeg with zeros before its end marker", WHOLE_JPEG[:-2] + b"\0" * 20 + b"\xff\xd9"),
    Odd("jpeg with bytes before a marker", before(WHOLE_JPEG, 0xDB, b"abc")),
    Odd("jpeg with fill bytes before a marker", before(WHOLE_JPEG, 0xDB, b"\xff" * 9)),
    Odd("jpeg with a comment of 60 kB", jpeg(segment(0xFE, b"x" * 60_000))),
    Odd("jpeg with 200 comments", jpeg(*[segment(0xFE, b"x" * 60_000)] * 200)),
    Odd("jpeg with an empty comment", jpeg(segment(0xFE, b""))),
    Odd("jpeg with a broken profile", jpeg(segment(0xE2, b"ICC_PROFILE\0\1\3xxxx"))),
    Odd("jpeg with a profile whose parts disagree", jpeg(segment(0xE2, b"ICC_PROFILE\0\7\2xxxx"), segment(0xE2, b"ICC_PROFILE\0\0\1xx"))),
    Odd("jpeg with a profile that stops short", jpeg(segment(0xE2, b"ICC_PROFILE\0"))),
    Odd("jpeg with broken EXIF", jpeg(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 500))),
    Odd("jpeg with EXIF that loops", jpeg(segment(0xE1, b"Exif\0\0" + exif(1)[:-4] + struct.pack("<I", 8)))),
    Odd("jpeg with a Photoshop segment that is broken", jpeg(segment(0xED, b"Photoshop 3.0\x008BIM\4\4\xff\xff\xff\xff\xff"))),
    Odd("jpeg with a picture format segment that is broken", jpeg(segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"))),
    Odd("jpeg with a short JFIF segment", jpeg(segment(0xE0, b"JFIF"))),
    Odd("jpeg with an unknown application segment", jpeg(segment(0xE9, b"\xff\xd8\xff" * 50))),
    Odd("jpeg with a segment of length 0", jpeg(b"\xff\xe5\0\0")),
    Odd("jpeg with restart markers", jpeg(**RESTARTS)),
    Odd("jpeg with restart markers, without its end marker", jpeg(**RESTARTS)[:-2], browser='part', here='whole'),
    Odd("progressive jpeg", PROGRESSIVE),
    Odd("progressive jpeg without its end marker", PROGRESSIVE[:-2]),
    Odd("jpeg whose EXIF turns it", jpeg(segment(0xE1, b"Exif\0\0" + exif(6))), turned=True),
    Odd("jpeg whose EXIF turns it, big endian", jpeg(segment(0xE1, b"Exif\0\0" + exif(6, ">"))), turned=True),
    Odd("jpeg whose XMP alone would turn it", jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(6)))),
    Odd("jpeg whose XMP says other than its EXIF", jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(1)), segment(0xE1, b"Exif\0\0" + exif(6))), turned=True),
    Odd("jpeg with two EXIF segments, the first turns", jpeg(segment(0xE1, b"Exif\0\0" + exif(6)), segment(0xE1, b"Exif\0\0" + exif(1))), turned=True),
    Odd("jpeg with two EXIF segments, the second turns", jpeg(segment(0xE1, b"Exif\0\0" + exif(1)), segment(0xE1, b"Exif\0\0" + exif(6)))),
    Odd("jpeg with an orientation of 9", jpeg(segment(0xE1, b"Exif\0\0" + exif(9)))),
    Odd("half a jpeg", WHOLE_JPEG[: scan_of(WHOLE_JPEG) + (len(WHOLE_JPEG) - scan_of(WHOLE_JPEG)) // 2], "part"),
    Odd("half a jpeg with an end marker", WHOLE_JPEG[: scan_of(WHOLE_JPEG) + (len(WHOLE_JPEG) - scan_of(WHOLE_JPEG)) // 2] + b"\xff\xd9", "part"),
    Odd("jpeg with its header only", WHOLE_JPEG[: scan_of(WHOLE_JPEG)], "part"),
    Odd("progressive jpeg with its first scan only", PROGRESSIVE[: SCANS[1]], "part"),
    Odd("progressive jpeg cut in its last scan", PROGRESSIVE[: SCANS[-1] + 30], "whole", here="refused"),
    Odd("jpeg with noise, 200 bytes short", LONG_JPEG[:-202] + b"\xff\xd9", "part"),
    Odd("jpeg through a text transfer to Windows", LONG_JPEG.replace(b"\n", b"\r\n"), "part"),
    Odd("jpeg whose carriage returns became line feeds", LONG_JPEG.replace(b"\r", b"\n"), "part"),
    Odd("progressive jpeg with half of its first scan", PROGRESSIVE[: (SCANS[0] + SCANS[1]) // 2] + b"\xff\xd9", "part"),
]  # fmt: skip

WEBPS = [
    Odd("webp with a profile that is broken", webp(flags=0x20, first=[(b"ICCP", b"xx")])),
    Odd("webp with broken EXIF", webp((b"EXIF", b"\xff" * 30), flags=8)),
    Odd("webp with broken XMP", webp((b"XMP ", b"<x"), flags=4)),
    Odd("webp with an unknown chunk", webp((b"TUWN", b"x" * 33))),
    Odd("webp with flags for what is not there", webp(flags=0x2C)),
    Odd("webp with EXIF that no flag announces", webp((b"EXIF", exif(6)))),
    Odd("webp with a file size that is too small by its metadata", webp((b"EXIF", b"x" * 500), flags=8, size=len(webp()) - 8)),
    Odd("webp with bytes behind its end", webp() + b"trailing" * 100),
    Odd("webp cut in its metadata", webp((b"EXIF", exif(1) + b"\0" * 500), flags=8)[:-300], browser='part', here='whole'),
    Odd("webp whose EXIF would turn it", webp((b"EXIF", exif(6)), flags=8)),
    Odd("webp whose EXIF would turn it, with a JPEG's preamble", webp((b"EXIF", b"Exif\0\0" + exif(6)), flags=8)),
    Odd("webp whose XMP alone would turn it", webp((b"XMP ", xmp(6)), flags=4)),
    Odd("webp with a file size that is too large", webp(size=1_000_000), browser='part', here='whole'),
    Odd("webp with a file size of 0", webp(size=0), browser='none', here='whole'),
    Odd("half a webp", webp()[: len(webp()) // 2], "part"),
    Odd("animated webp", animated("WEBP", lossless=True)),
    Odd("animated webp cut behind its first frame", animated("WEBP", lossless=True)[:-20], browser='part', here='whole'),
]  # fmt: skip

GIFS = [
    Odd("gif without its trailer", WHOLE_GIF[:-1]),
    Odd("gif with bytes behind its end", WHOLE_GIF + b"trailing" * 100),
    Odd("gif with a comment", gif_with(b"\x21\xfe" + b"\x05hello\0")),
    Odd("gif with an unknown extension", gif_with(b"\x21\x77" + b"\x05hello\0")),
    Odd("gif with an unknown application", gif_with(b"\x21\xff\x0bTUWENTUWEN1" + b"\x03abc\0")),
    Odd("gif with an XMP block", gif_with(b"\x21\xff\x0bXMP DataXMP" + xmp(6) + b"\1" + bytes(range(255, -1, -1)) + b"\0")),
    Odd("animated gif", animated("GIF")),
    Odd("animated gif cut in its second frame", animated("GIF")[:-30]),
    Odd("half a gif", PLAIN_GIF[: len(PLAIN_GIF) // 2], "part"),
]  # fmt: skip

BMPS = [
    *[Odd(f"bmp with a header of {size} bytes", bmp(size)) for size in (12, 40, 52, 56, 64, 108, 124)],
    Odd("bmp from the top down", bmp(top_down=True)),
    Odd("bmp with a gap before its pixels", bmp(gap=100)),
    Odd("bmp with a file size of 0", bmp(file_size=0)),
    Odd("bmp with a file size that is too large", bmp(file_size=1 << 30)),
    Odd("bmp with bytes behind its end", bmp() + b"trailing" * 100),
    Odd("half a bmp", bmp()[:9000], "part"),
]

ODD_FILES = [*PNGS, *JPEGS, *WEBPS, *GIFS, *BMPS]
