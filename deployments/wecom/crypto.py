"""WeCom's callback scheme: who signed it, and what it says. One scheme for apps, AI bots and the group robot.

developer.work.weixin.qq.com/document/path/91144: the signature is the SHA-1 of token, timestamp, nonce and ciphertext,
sorted and joined; the ciphertext is AES-256-CBC, its IV the key's first half, over 16 random bytes, the message's
length in network order, the message and the receiver's id, padded to a multiple of 32.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from deployments.errors import RequestError, Unauthorized

PAD_BYTES = 32
RANDOM_BYTES = 16
LENGTH_BYTES = 4
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


def signature_of(token: str, timestamp: str, nonce: str, ciphertext: str) -> str:
    """Lower-case hex of WeCom's signature over the four, in whatever order they come."""
    joined = "".join(sorted((token, timestamp, nonce, ciphertext)))
    return hashlib.sha1(joined.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class Sealed:
    """A reply on its way: ciphertext, and the signature with the timestamp and nonce that it is over."""

    encrypt: str
    signature: str
    timestamp: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Crypto:
    """Token, key and receiver's id of one callback address. An AI bot's receiver id is empty."""

    token: str = field(repr=False)
    key: bytes = field(repr=False)
    receiver: str = ""
    random: Callable[[int], bytes] = os.urandom

    def check(self, signature: str, timestamp: str, nonce: str, ciphertext: str) -> None:
        """Raises Unauthorized unless the signature is WeCom's; takes equally long whatever is wrong with it."""
        expected = signature_of(self.token, timestamp, nonce, ciphertext)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape")):
            raise Unauthorized("the signature does not fit: are Token and address those of this bot?")

    def open(self, ciphertext: str) -> bytes:
        """The message inside. Raises RequestError for what is not encrypted with this key and for this receiver."""
        plain = unpadded(decrypted(self.key, _decoded(ciphertext)))
        header = RANDOM_BYTES + LENGTH_BYTES
        if len(plain) < header:
            raise RequestError("the message is too short to be one")
        (length,) = struct.unpack("!I", plain[RANDOM_BYTES:header])
        if length > len(plain) - header:
            raise RequestError("the message is shorter than it says")
        message, receiver = plain[header : header + length], plain[header + length :]
        if not hmac.compare_digest(receiver, self.receiver.encode()):
            raise RequestError("the message is for another receiver: is the CorpID right?")
        return message

    def seal(self, message: bytes, timestamp: str, nonce: str) -> Sealed:
        """The message encrypted and signed, as WeCom opens it."""
        framed = self.random(RANDOM_BYTES) + struct.pack("!I", len(message)) + message + self.receiver.encode()
        encrypt = base64.b64encode(encrypted(self.key, padded(framed))).decode()
        return Sealed(encrypt, signature_of(self.token, timestamp, nonce, encrypt), timestamp, nonce)


def padded(data: bytes) -> bytes:
    """PKCS #7 to a multiple of 32."""
    count = PAD_BYTES - len(data) % PAD_BYTES
    return data + bytes([count]) * count


def unpadded(data: bytes) -> bytes:
    """The data without its padding, every byte of which is looked at. Raises RequestError."""
    count = data[-1] if data else 0
    if not 1 <= count <= PAD_BYTES or len(data) < count or data[-count:] != bytes([count]) * count:
        raise RequestError("the padding is wrong: is the EncodingAESKey the one of this bot?")
    return data[:-count]


def decrypted(key: bytes, ciphertext: bytes) -> bytes:
    """AES-256-CBC with the key's first half as IV. Raises RequestError for a length that no ciphertext has."""
    if not ciphertext or len(ciphertext) % PAD_BYTES:
        raise RequestError("the ciphertext is not whole")
    step = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    return step.update(ciphertext) + step.finalize()


def encrypted(key: bytes, padded_data: bytes) -> bytes:
    step = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return step.update(padded_data) + step.finalize()


def _decoded(text: str) -> bytes:
    """Base64, of which some senders leave out the ``=``. Raises RequestError for anything else."""
    if not BASE64.fullmatch(text):
        raise RequestError("the ciphertext is not base64")
    bare = text.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error as fault:
        raise RequestError("the ciphertext is not base64") from fault
