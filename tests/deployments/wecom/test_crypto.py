"""WeCom's callback scheme against what others have published, and everything that a stranger may send instead."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wechatpy.work.crypto import WeChatCrypto

from deployments.errors import RequestError, Unauthorized
from deployments.wecom.crypto import Crypto, encrypted, padded, signature_of, unpadded
from deployments.wecom.keys import aes_key_of
from tests.deployments.wecom.vectors import ALL, ECHO, MESSAGE


def crypto_of(vector, receiver=None):
    return Crypto(vector.token, aes_key_of(vector.encoding_aes_key), vector.receiver if receiver is None else receiver)


OURS = crypto_of(MESSAGE)


@pytest.mark.parametrize("vector", ALL.values(), ids=ALL)
def test_a_published_vector_is_signed_opened_and_sealed_exactly(vector):
    crypto = crypto_of(vector)
    crypto.check(vector.signature, vector.timestamp, vector.nonce, vector.ciphertext)
    assert crypto.open(vector.ciphertext) == vector.plain
    fixed = Crypto(crypto.token, crypto.key, crypto.receiver, random=lambda count: vector.random)
    sealed = fixed.seal(vector.plain, vector.timestamp, vector.nonce)
    assert (sealed.encrypt, sealed.signature) == (vector.ciphertext, vector.signature)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: (v.signature[:-1] + "0", v.timestamp, v.nonce, v.ciphertext),
        lambda v: (v.signature.upper(), v.timestamp, v.nonce, v.ciphertext),
        lambda v: ("", v.timestamp, v.nonce, v.ciphertext),
        lambda v: ("签名", v.timestamp, v.nonce, v.ciphertext),
        lambda v: (v.signature, v.timestamp + "0", v.nonce, v.ciphertext),
        lambda v: (v.signature, v.timestamp, "other", v.ciphertext),
        lambda v: (v.signature, v.timestamp, v.nonce, v.ciphertext[:-4] + "AAA="),
    ],
    ids=["flipped", "upper", "empty", "chinese", "timestamp", "nonce", "ciphertext"],
)
def test_whatever_differs_from_what_was_signed_is_refused(change):
    with pytest.raises(Unauthorized):
        OURS.check(*change(MESSAGE))


def sealed_frame(frame, key=OURS.key):
    return base64.b64encode(encrypted(key, frame)).decode()


def framed(length, message, receiver=b"wx5823bf96d3bd56c7"):
    return b"r" * 16 + length.to_bytes(4, "big") + message + receiver


BAD = {
    "another receiver": sealed_frame(padded(framed(5, b"hello", b"wx0000000000000000"))),
    "no receiver": sealed_frame(padded(framed(5, b"hello", b""))),
    "a receiver with more behind it": sealed_frame(padded(framed(5, b"hello", b"wx5823bf96d3bd56c7x"))),
    "a length beyond the buffer": sealed_frame(padded(framed(4_000_000_000, b"hello"))),
    "a length into the receiver": sealed_frame(padded(framed(7, b"hello"))),
    "a pad of 0": sealed_frame(framed(5, b"hello")[:43].ljust(63, b"x") + b"\0"),
    "a pad of 33": sealed_frame(b"x" * 31 + b"\x21" * 33),
    "an inconsistent pad": sealed_frame(b"x" * 29 + b"\x01\x02\x03"),
    "nothing inside": sealed_frame(padded(b"")),
    "another key": sealed_frame(padded(framed(5, b"hello")), key=b"k" * 32),
    "half a block": base64.b64encode(b"x" * 16).decode(),
    "an empty text": "",
    "no base64": "ÄÖÜ!" * 16,
    "url-safe base64": "-_-_" * 16,
    "a newline in base64": MESSAGE.ciphertext[:64] + "\n" + MESSAGE.ciphertext[64:],
    "one letter too many": MESSAGE.ciphertext.rstrip("=") + "AAA",
}


@pytest.mark.parametrize("ciphertext", BAD.values(), ids=BAD)
def test_a_ciphertext_that_is_not_for_us_is_unreadable(ciphertext):
    with pytest.raises(RequestError):
        OURS.open(ciphertext)


def test_base64_without_its_equals_signs_is_read():
    assert crypto_of(ECHO).open(ECHO.ciphertext.rstrip("=")) == ECHO.plain


@given(st.binary(max_size=200))
def test_what_is_padded_is_unpadded_and_nothing_shorter_than_a_block_is_added(data):
    whole = padded(data)
    assert len(whole) % 32 == 0
    assert 1 <= len(whole) - len(data) <= 32
    assert unpadded(whole) == data


@given(st.binary(max_size=2000), st.sampled_from(["", "ww1436e0e65a779aee"]))
def test_what_is_sealed_is_opened_also_with_the_empty_receiver_of_a_bot(message, receiver):
    crypto = Crypto("token", b"k" * 32, receiver)
    sealed = crypto.seal(message, "1700000000", "nonce")
    crypto.check(sealed.signature, sealed.timestamp, sealed.nonce, sealed.encrypt)
    assert crypto.open(sealed.encrypt) == message


def test_wechatpy_opens_what_we_seal_and_we_what_it_seals():
    theirs = WeChatCrypto(MESSAGE.token, MESSAGE.encoding_aes_key, MESSAGE.receiver)
    sealed = OURS.seal(b"<xml><Content>\xe4\xbd\xa0\xe5\xa5\xbd</Content></xml>", "1700000000", "n")
    envelope = f"<xml><Encrypt><![CDATA[{sealed.encrypt}]]></Encrypt></xml>"
    opened = theirs.decrypt_message(envelope, sealed.signature, sealed.timestamp, sealed.nonce)
    assert "你好" in (opened.decode() if isinstance(opened, bytes) else opened)
    from deployments.wecom.xml_envelope import read_xml

    reply = read_xml(theirs.encrypt_message("<xml>hello</xml>", "nonce", "1700000000").encode())
    OURS.check(reply["MsgSignature"], "1700000000", "nonce", reply["Encrypt"])
    assert OURS.open(reply["Encrypt"]) == b"<xml>hello</xml>"


@pytest.mark.parametrize("key", ["", "short", "a" * 42, "a" * 44, "a" * 42 + "=", "a" * 42 + " ", "钥" * 43])
def test_a_key_that_is_none_is_refused_with_what_is_wrong(key):
    with pytest.raises(ValueError, match="EncodingAESKey has"):
        aes_key_of(key)


def test_a_key_whose_spare_bits_are_set_is_one():
    assert len(aes_key_of("a" * 42 + "B")) == 32


def test_neither_token_nor_key_is_shown():
    assert "QDG6eK" not in repr(OURS)
    assert repr(OURS.key) not in repr(OURS)


def test_the_signature_is_over_the_four_in_the_order_of_their_characters():
    assert signature_of("b", "a", "d", "c") == signature_of("d", "c", "b", "a")
