"""Pictures written into the request: ``data:image/…;base64,…`` (RFC 2397)."""

import binascii

from deployments.errors import ImageEncoding, ImageMissing, ImageTooLarge

MAX_HEADER_CHARS = 256
SLICE_CHARS = 1024 * 1024
"""Decoded at a time, a multiple of 4: the event loop gets its turn in between."""


def is_data_uri(url: str) -> bool:
    return url[:16].lstrip()[:5].lower() == "data:"


def decode_data_uri(uri: str, max_bytes: int) -> bytes:
    """The picture's bytes. Raises ImageEncoding, and ImageMissing and ImageTooLarge before it decodes anything."""
    comma = uri.find(",", 0, MAX_HEADER_CHARS)
    media_type, *options = uri[:comma].partition(":")[2].lower().split(";") if comma > 0 else [""]
    if not media_type.strip().startswith("image/") or "base64" not in (option.strip() for option in options):
        raise ImageEncoding("the data URI must look like data:image/png;base64,…")
    start = comma + 1
    if start == len(uri):
        raise ImageMissing("the data URI is empty: there is no picture after its comma")
    if (len(uri) - start) * 3 // 4 > max_bytes + 2:
        raise ImageTooLarge(f"the picture has more than the {max_bytes} bytes allowed: send it smaller")
    return b"".join(_decoded(uri[at : at + SLICE_CHARS], at, len(uri)) for at in range(start, len(uri), SLICE_CHARS))


def _decoded(text: str, at: int, end: int) -> bytes:
    """One slice; padding may only end the last one."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as fault:
        raise ImageEncoding(_complaint(text)) from fault
    if at + len(text) < end and len(data) * 4 != len(text) * 3:
        raise ImageEncoding("the data URI's base64 has padding before its end: encode the whole file at once")
    return data


def _complaint(text: str) -> str:
    if any(character in text for character in " \r\n\t"):
        return "the data URI's base64 has white space or line breaks in it: encode it in one line"
    if "-" in text or "_" in text:
        return "the data URI is in base64's alphabet for URLs (- and _): encode it with the standard one (+ and /)"
    return "the data URI is not valid base64: check alphabet and padding"
