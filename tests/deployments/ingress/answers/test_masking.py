"""Which numbers become stars, and that a stream tells exactly what the whole text would."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployments.ingress.answers.masking import MaskedStream, mask_personal_numbers

# The identity numbers are GB 11643's own example and ones computed from it, the cards are payment providers' test cards.
MASKED = [
    ("11010519491231002X", "**************002X"),
    ("11010519491231002x", "**************002x"),
    ("１１０１０５１９４９１２３１００２Ｘ", "**************００２Ｘ"),
    ("身份证号：11010519491231002X。", "身份证号：**************002X。"),
    ("110105 19491231 002X", "****** ******** 002X"),
    ("110105-19491231-002X", "******-********-002X"),
    ("1101 0519 4912 3100 2X", "**** **** **** **00 2X"),
    ("11010519491231002 X", "**************002 X"),
    ("110105　１９４９１２３１—002X", "110105　１９４９１２３１—002X"),  # a dash between words is no separator
    ("110105　１９４９１２３１－002X", "******　********－002X"),
    ("1 1 0 1 0 5 1 9 4 9 1 2 3 1 0 0 2 X", "* * * * * * * * * * * * * * 0 0 2 X"),
    ("4111111111111111", "************1111"),
    ("5555555555554444", "************4444"),
    ("6200000000000005", "************0005"),
    ("6205500000000000004", "***************0004"),
    ("3566002020360505", "************0505"),
    ("4111 1111 1111 1111", "**** **** **** 1111"),
    ("4111-1111-1111-1111", "****-****-****-1111"),
    ("6205 5000 0000 0000 004", "**** **** **** ***0 004"),
    ("620550 0000000000004", "****** *********0004"),
    ("４１１１　１１１１　１１１１　１１１１", "****　****　****　１１１１"),
    ("卡号4111111111111111，户名张三", "卡号************1111，户名张三"),
    ("No4111111111111111", "No************1111"),
    ("4111111111111111x2", "************1111x2"),
    ("4111111111111111 X", "************1111 X"),
    ("2024-01-15 4111 1111 1111 1111 2025-02-16", "2024-01-15 **** **** **** 1111 2025-02-16"),
    ("13800138000 4111111111111111", "13800138000 ************1111"),
    ("11010519491231002X 4111111111111111", "**************002X ************1111"),
    ("4111111111111111\n11010519491231002X", "************1111\n**************002X"),
]
KEPT = [
    "",
    "这是一张运单，共 3 件。",
    "110105194912310021",  # wrong check digit
    "110105194902310026",  # no such day
    "110105188001010017",  # nobody was born then, nor yet
    "110105214901010019",
    "990105194912310023",  # no such province
    "11010519491231002XL",  # a longer code
    "11010519491231002X5",
    "4111111111111112",  # fails Luhn's check
    "1111111111111117",  # no issuer begins like that
    "7000000000000005",
    "4111111111111111000000",  # an order number of 22 digits
    "0004111111111111111",
    "99911010519491231002X",
    "411111111111111",  # 15 digits
    "62055000000000000040",  # 20 digits
    "4111  1111  1111  1111",  # not one number
    "4111.1111.1111.1111",
    "41 11 11 11 11 11 11 11",  # no card is printed like that
    "4111/1111/1111/1111",
    "13800138000",
    "SF1234567890123",
    "2024-01-15 12:30:45",
    "0571-88888888 0571-99999999",
    "xX-x - X",
]


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_personal_numbers_become_stars(text: str, masked: str) -> None:
    assert mask_personal_numbers(text) == masked


@pytest.mark.parametrize("text", KEPT)
def test_other_text_stays(text: str) -> None:
    assert mask_personal_numbers(text) == text


def _streamed(pieces: list[str]) -> str:
    stream = MaskedStream()
    return "".join([*map(stream.push, pieces), stream.finish()])


@pytest.mark.parametrize("text", [text for text, _ in MASKED] + KEPT)
def test_a_stream_tells_the_same_however_it_is_cut(text: str) -> None:
    whole = mask_personal_numbers(text)
    assert _streamed(list(text)) == whole
    for cut in range(len(text) + 1):
        assert _streamed([text[:cut], text[cut:]]) == whole


NUMBERS = ("11010519491231002X", "4111111111111111", "6205500000000000004", "000000000000000000000")
GROUPS = ("110105", "19491231", "002X", "002", "4111", "1111", "１１１１", "62055000")
OTHERS = ("x", "X", " ", "-", "－", "　", "  ", "号", "L", "\n")
parts = st.sampled_from(NUMBERS + GROUPS + OTHERS) | st.text("0123456789 -X", max_size=40)
pieces = st.lists(parts, max_size=24).flatmap(
    lambda chosen: st.lists(st.integers(0, sum(map(len, chosen))), max_size=12).map(
        lambda cuts: _cut("".join(chosen), sorted(cuts))
    )
)


def _cut(text: str, places: list[int]) -> list[str]:
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@settings(deadline=None)
@given(pieces)
@example(list("0" * 200 + "4111 1111 1111 1111" + "0" * 200))
@example(["1" * 200, " 4111 1111 1111 1111 ", "1" * 200])
@example(list("4111 " * 60))
@example(list("9" * 30 + "6205 5000 0000 0000 004" + " 1" * 60))  # the first group is a long one
@example(list("9" * 30 + " ".join("11010519491231002X") + " 1" * 60))
def test_a_stream_equals_the_whole(pieces: list[str]) -> None:
    whole = mask_personal_numbers("".join(pieces))
    assert _streamed(pieces) == whole
    assert _streamed(list("".join(pieces))) == whole


@settings(deadline=None)
@given(st.text("0123456789０９ -－X号", max_size=120))
def test_nothing_but_digits_changes(text: str) -> None:
    masked = mask_personal_numbers(text)
    assert len(masked) == len(text)
    assert all(now in (was, "*") for was, now in zip(text, masked, strict=True))
    assert not any(now == "*" and was not in "0123456789０９X" for was, now in zip(text, masked, strict=True))


def test_a_stream_waits_no_longer_than_it_must() -> None:
    stream = MaskedStream()
    assert stream.push("卡号 4111 1111") == "卡号 "
    assert stream.push(" 1111 111") == ""
    assert stream.push("1") == ""
    assert stream.push("，") == "**** **** **** 1111，"
    assert stream.push("1" * 100) == "1" * 63
    assert stream.push("。") == "1" * 37 + "。"
    assert stream.push("共 3") == "共 "
    assert stream.finish() == "3"
    assert stream.push("再来") == "再来"
