"""Pictures of AI bots come encrypted: by webhook with the bot's key, over the long connection each with its own."""

import base64
import binascii
import re
from urllib.parse import unquote

from deployments.errors import ImageEncoding, ImageTruncated, RequestError
from deployments.wecom.crypto import PAD_BYTES, decrypted, unpadded
from deployments.wecom.keys import KEY_BYTES

HEX = re.compile(r"[0-9a-fA-F]{64}")


def media_key(text: str) -> bytes:
    """The key in any of the spellings that were seen: hex, base64 with or without ``=``, percent-encoded.

    Raises ImageEncoding when it is none of them.
    """
    bare = unquote(text).strip().replace(" ", "+")  # a form decoder makes blanks of plus signs
    if HEX.fullmatch(bare):
        return bytes.fromhex(bare)
    bare = bare.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ImageEncoding("the picture's key is none: send the picture again")
    return key


def opened_picture(data: bytes, key: bytes) -> bytes:
    """The picture inside the ciphertext. Raises ImageTruncated, or ImageEncoding when the key is another picture's."""
    if not data or len(data) % PAD_BYTES:
        raise ImageTruncated("the picture did not arrive whole: send it again")
    try:
        return unpadded(decrypted(key, data))
    except RequestError as fault:
        raise ImageEncoding("the picture cannot be decrypted: send it again") from fault
