"""Callers' texts: what can be seen, what can be read, and how it is shown back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import RequestError
from deployments.texts import MAX_MESSAGE_CHARS, MAX_QUOTED_CHARS, check_readable, is_visible, printable, quoted

INVISIBLE = ["", " \t\n", "\u200b", "\ufeff", "\u202e\u2066\u200f", "\ufe0f\U000e0100", "\u3000\xa0", "\x00\x1b", "\u2800",
             "\u3164\u115f", "\u00ad\u2060", "\U000e0041", "\u034f\u0301", "\ud800"]  # fmt: skip
VISIBLE = ["?", "订单号", "😀", "\u200b1", "क्षि", "ก", "👨\u200d👩", "！", "e\u0301", "\u200f שלום"]


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_nobody_sees_anything_of_these(text):
    assert not is_visible(text)


@pytest.mark.parametrize("text", VISIBLE, ids=ascii)
def test_anybody_sees_something_of_these(text):
    assert is_visible(text)


@pytest.mark.parametrize("text", ["a\x00", "\x1b[31m", "\x7f", "a\x80", "\ud83d", "\udc00\ud800"], ids=ascii)
def test_what_no_program_should_send_is_refused_with_its_code_point(text):
    with pytest.raises(RequestError, match=r"the question has .*U\+00|the question has .*U\+D"):
        check_readable(text, "the question")


@pytest.mark.parametrize("text", ["", "a\tb\r\nc", "a\vb\fc", "零\u200b宽", "😀"], ids=ascii)
def test_ordinary_text_is_let_through(text):
    check_readable(text, "the question")


@given(st.text(st.characters(codec=None)) | st.text(min_size=1).map(lambda text: text * 3000))
def test_whatever_is_shown_back_is_printable_and_bounded(text):
    assert len(printable(text)) <= MAX_MESSAGE_CHARS
    assert len(quoted(text)) <= MAX_QUOTED_CHARS + 2
    for shown in (printable(text), quoted(text)):
        assert shown.isprintable()
        assert json.dumps(shown, ensure_ascii=False).encode()
