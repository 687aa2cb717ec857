"""What is cut, taken out or spelt otherwise: long answers, mentions, tables, picture keys."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import ImageEncoding, ImageTruncated
from deployments.wecom.crypto import encrypted, padded
from deployments.wecom.degrading import plain, without_tables
from deployments.wecom.media_keys import media_key, opened_picture
from deployments.wecom.mentions import without_mentions
from deployments.wecom.pictures import is_picture, secured
from deployments.wecom.splitting import size, split

LIMITS = [2048, 4096, 20480]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("text", ["订" * 30_000, "a订" * 20_000, "👨‍👩‍👧‍👦" * 3_000, "é" * 20_000])
def test_no_part_is_too_long_and_nothing_is_lost(text, limit):
    parts = split(text, limit)
    assert all(size(part) <= limit for part in parts)
    assert "".join(parts) == text
    assert not any(part.startswith(("\u200d", "\u0301")) for part in parts)


@given(st.text(st.sampled_from("订a。 \n|-`#👍\u200d\u0301"), max_size=400), st.integers(24, 200))
def test_any_text_is_cut_into_parts_that_fit(text, limit):
    assert all(size(part) <= max(limit, 16 * 4) for part in split(text, limit))


def test_a_code_block_goes_on_as_one():
    parts = split("```python\n" + "x = 1\n" * 200 + "```", 300)
    assert all(part.startswith("```python\n") and part.endswith("```") for part in parts)


def test_a_table_s_head_stands_above_each_part():
    parts = split("| 单号 | 状态 |\n|---|---|\n" + "| 123456 | 已发货 |\n" * 60, 400)
    assert len(parts) > 3
    assert all(part.startswith("| 单号 | 状态 |\n|---|---|\n") for part in parts)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("@看图 几号", "几号"),
        ("＠看图\u2005几号", "几号"),
        ("几号@看图", "几号"),
        ("@看图助手 几号", "@看图助手 几号"),
        ("a@看图.cn", "a@看图.cn"),
        ("发到 a@b.cn", "发到 a@b.cn"),
        ("@张三 @看图 几号", "@张三 几号"),
    ],
)
def test_only_the_bot_s_own_name_is_taken_out(text, left):
    assert without_mentions(text, "看图") == left


def test_tables_and_marks_become_plain_words_and_links_are_dead():
    table = "| 单号 | 状态 |\n|---|---|\n| 1 | 已发货 |"
    assert without_tables(f"前\n{table}\n后") == "前\n单号：1；状态：已发货\n后"
    assert (
        plain("## 标题\n**重点** [官网](https://a.cn) <a href='x'>点</a>")
        == "标题\n重点 官网 https://a.cn ＜a href='x'＞点＜/a＞"
    )
    assert without_tables("a | b") == "a | b"


RAW = bytes(range(32))


@pytest.mark.parametrize(
    "spelt",
    [
        RAW.hex(),
        RAW.hex().upper(),
        base64.b64encode(RAW).decode(),
        base64.b64encode(RAW).decode().rstrip("="),
        quote(base64.b64encode(RAW).decode(), safe=""),
    ],
)
def test_a_picture_s_key_is_read_in_every_spelling(spelt):
    assert media_key(spelt) == RAW


@pytest.mark.parametrize("spelt", ["", "x", "a" * 42, "钥" * 43, RAW.hex()[:-2]])
def test_what_is_no_key_is_told(spelt):
    with pytest.raises(ImageEncoding):
        media_key(spelt)


def test_a_picture_is_decrypted_and_neither_cut_short_nor_with_another_key():
    picture = b"\xff\xd8\xff" + b"x" * 1000
    sealed = encrypted(RAW, padded(picture))
    assert opened_picture(sealed, RAW) == picture
    with pytest.raises(ImageTruncated):
        opened_picture(sealed[:-5], RAW)
    with pytest.raises(ImageEncoding):
        opened_picture(sealed, b"k" * 32)


def test_pictures_are_known_by_their_bytes_and_fetched_over_https():
    assert is_picture(b"RIFF\0\0\0\0WEBPVP8 ")
    assert not is_picture(b"<html>")
    assert secured(" http://wework.qpic.cn/a?x=%2F ") == "https://wework.qpic.cn/a?x=%2F"
    assert secured("http://127.0.0.1:8700/a") == "http://127.0.0.1:8700/a"
