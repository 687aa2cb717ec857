"""Envelopes: read before anybody has proved to be WeCom, and written so that foreign parsers read them."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import RequestError, Unauthorized
from deployments.wecom.callback import is_stale, opened_echo, signed
from deployments.wecom.crypto import Sealed
from deployments.wecom.json_envelope import ciphertext_of_json, read_json, reply_json
from deployments.wecom.xml_envelope import cdata, ciphertext_of_xml, read_xml, reply_xml
from tests.deployments.wecom.test_crypto import crypto_of
from tests.deployments.wecom.vectors import BAD_JSON, ECHO, MESSAGE

BAD_XML = {
    "a document type": b'<!DOCTYPE xml [<!ENTITY a "b">]><xml><Encrypt>&a;</Encrypt></xml>',
    "an external entity": b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><xml><Encrypt>A</Encrypt></xml>',
    "an encoding nobody knows": b'<?xml version="1.0" encoding="klingon"?><xml><Encrypt>A</Encrypt></xml>',
    "no XML": b"hello",
    "nothing": b"",
    "half": b"<xml><Encrypt>",
    "no Encrypt": b"<xml><ToUserName>a</ToUserName></xml>",
    "an empty Encrypt": b"<xml><Encrypt> </Encrypt></xml>",
    "JSON": b'{"encrypt": "A"}',
}
BAD_ENVELOPES = {
    "nothing": b"",
    "a list": b"[1]",
    "no encrypt": b"{}",
    "a number": b'{"encrypt": 1}',
    "an empty one": b'{"encrypt": ""}',
    "not UTF-8": b'{"encrypt": "\xff"}',
    "deep": b'{"encrypt":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.parametrize("body", BAD_XML.values(), ids=BAD_XML)
def test_xml_that_is_no_envelope_is_refused(body):
    with pytest.raises(RequestError):
        ciphertext_of_xml(body)


@pytest.mark.parametrize("body", BAD_ENVELOPES.values(), ids=BAD_ENVELOPES)
def test_json_that_is_no_envelope_is_refused(body):
    with pytest.raises(RequestError):
        ciphertext_of_json(body)


@pytest.mark.parametrize("body", [b'{"encrypt": "AAAA"}', b'\xef\xbb\xbf{"Encrypt": "AAAA", "tousername": ""}'])
def test_json_envelopes_are_read_in_either_spelling(body):
    assert ciphertext_of_json(body) == "AAAA"


def test_the_bad_json_inside_a_good_vector_is_told_as_such():
    with pytest.raises(RequestError, match="not JSON"):
        read_json(crypto_of(BAD_JSON).open(BAD_JSON.ciphertext))


def test_raw_control_characters_in_strings_are_read():
    assert read_json(b'{"text": "one\ntwo\x01"}') == {"text": "one\ntwo\x01"}


def test_the_echo_is_found_where_a_proxy_made_blanks_of_its_plus_signs():
    query = {"msg_signature": ECHO.signature, "timestamp": ECHO.timestamp, "nonce": ECHO.nonce}
    for echo in (ECHO.ciphertext, ECHO.ciphertext.replace("+", " ")):
        assert opened_echo(crypto_of(ECHO), query | {"echostr": echo}) == ECHO.plain


@pytest.mark.parametrize("name", ["msg_signature", "timestamp", "nonce", "echostr"])
def test_a_missing_parameter_is_named(name):
    query = {
        "msg_signature": ECHO.signature,
        "timestamp": ECHO.timestamp,
        "nonce": ECHO.nonce,
        "echostr": ECHO.ciphertext,
    }
    with pytest.raises(RequestError, match=name):
        opened_echo(crypto_of(ECHO), query | {name: ""})


@pytest.mark.parametrize("spelling", ["msg_signature", "msgsignature", "signature"])
def test_every_accepted_spelling_of_the_signature_is_read(spelling):
    assert signed({spelling: "s", "timestamp": "1", "nonce": "n"}).signature == "s"


def test_what_was_signed_outside_the_window_is_stale_and_without_a_window_nothing_is():
    who = signed({"signature": "s", "timestamp": MESSAGE.timestamp, "nonce": "n"})
    at = int(MESSAGE.timestamp)
    assert [is_stale(who, at + late, 300) for late in (-301, -300, 0, 300, 301)] == [True, False, False, False, True]
    assert not is_stale(who, at + 10**9, 0)
    with pytest.raises(Unauthorized):
        is_stale(signed({"signature": "s", "timestamp": "soon", "nonce": "n"}), at, 300)


@given(st.text(max_size=60) | st.sampled_from(["]]>", "a]]>b", "]]]]>>", "]]", "<xml>&amp;", "\0\x01"]))
def test_any_text_comes_out_of_cdata_as_it_went_in_but_for_what_xml_cannot_hold(text):
    (read,) = ElementTree.fromstring(f"<xml><a>{cdata(text)}</a></xml>")
    kept = "".join(
        c for c in text if c in "\t\n\r" or (c >= "\x20" and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )
    assert (read.text or "") == kept.replace("\r\n", "\n").replace("\r", "\n")


def test_replies_have_the_fields_and_spellings_of_the_protocol():
    sealed = Sealed("AAAA", "abcd", "1700000000", "n]]>n")
    assert read_xml(reply_xml(sealed).encode()) == {
        "Encrypt": "AAAA",
        "MsgSignature": "abcd",
        "TimeStamp": "1700000000",
        "Nonce": "n]]>n",
    }
    assert read_json(reply_json(sealed)) == {
        "encrypt": "AAAA",
        "msgsignature": "abcd",
        "timestamp": 1700000000,
        "nonce": "n]]>n",
    }


def test_nested_elements_have_dotted_names():
    assert (
        read_xml(b"<xml><ScanCodeInfo> <ScanType>qr</ScanType></ScanCodeInfo></xml>")["ScanCodeInfo.ScanType"] == "qr"
    )
