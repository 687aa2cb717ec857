"""The platform's side of WeCom's callback scheme, after path/91144 and the sample code that it links to."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

BLOCK_BITS = 256


class Rejected(Exception):
    """What the bot has sent is not what WeCom would take."""


def key_bytes(encoding_aes_key: str) -> bytes:
    return base64.b64decode(f"{encoding_aes_key}=")


def scrambled(key: bytes, data: bytes) -> bytes:
    padder = padding.PKCS7(BLOCK_BITS).padder()
    encryptor = Cipher(AES(key), CBC(key[:16])).encryptor()
    return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()


def unscrambled(key: bytes, data: bytes) -> bytes:
    decryptor = Cipher(AES(key), CBC(key[:16])).decryptor()
    unpadder = padding.PKCS7(BLOCK_BITS).unpadder()
    try:
        return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()
    except ValueError as fault:
        raise Rejected("the reply cannot be decrypted") from fault


@dataclass(frozen=True)
class Seal:
    """Token, key and receiver of one callback address."""

    token: str = field(repr=False)
    encoding_aes_key: str = field(repr=False)
    receiver: str

    def signature(self, timestamp: str, nonce: str, encrypt: str) -> str:
        return hashlib.sha1("".join(sorted([self.token, timestamp, nonce, encrypt])).encode()).hexdigest()

    def closed(self, message: bytes) -> str:
        frame = secrets.token_bytes(16) + len(message).to_bytes(4, "big") + message + self.receiver.encode()
        return base64.b64encode(scrambled(key_bytes(self.encoding_aes_key), frame)).decode()

    def opened(self, encrypt: str) -> bytes:
        """Raises Rejected."""
        frame = unscrambled(key_bytes(self.encoding_aes_key), base64.b64decode(encrypt))
        length = int.from_bytes(frame[16:20], "big")
        if frame[20 + length :] != self.receiver.encode():
            raise Rejected("the reply is for another receiver")
        return frame[20 : 20 + length]

    def query(self, encrypt: str, timestamp: int) -> dict[str, str]:
        """The parameters that go with a ciphertext."""
        nonce = str(secrets.randbelow(10**10))
        return {
            "msg_signature": self.signature(str(timestamp), nonce, encrypt),
            "timestamp": str(timestamp),
            "nonce": nonce,
        }
