"""What an EncodingAESKey is; apart from the ciphers, so that settings are checked without them."""

import base64
import re

KEY_BYTES = 32


def aes_key_of(encoding_aes_key: str) -> bytes:
    """The 32 bytes of an EncodingAESKey of 43 characters. Raises ValueError that says what is wrong with it.

    The two spare bits of its last character are mostly not zero, so that a strict decoder refuses most keys.
    """
    if len(encoding_aes_key) != 43:
        raise ValueError(f"an EncodingAESKey has 43 characters, this one {len(encoding_aes_key)}")
    if not re.fullmatch(r"[A-Za-z0-9+/]{43}", encoding_aes_key):
        raise ValueError("an EncodingAESKey has only letters and digits: was something else pasted with it?")
    return base64.b64decode(encoding_aes_key + "=")
