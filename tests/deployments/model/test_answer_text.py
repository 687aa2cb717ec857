"""The answer in a generated text, whole or in pieces."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.model.answer_text import AnswerText, Begins, clean, opens_reasoning

CASES = [
    ("plain", "¥3362.16", "¥3362.16"),
    ("reasoning", "<think>let me see\n</think>\n¥12", "¥12"),
    ("empty reasoning", "<think></think>\n¥12", "¥12"),
    ("reasoning cut off", "<think>let me see and", ""),
    ("reasoning cut off after text", "¥12<think>wait", "¥12"),
    ("an end of reasoning that had no beginning", "¥12</think>\n¥13", "¥12\n¥13"),
    ("answer tags", "<think>x</think><answer>¥12</answer>", "¥12"),
    ("box", "<|begin_of_box|>¥12<|end_of_box|>", "¥12"),
    ("end tokens", "¥12<|endoftext|><|user|>", "¥12"),
    ("leading mask", "[gMASK]<sop>¥12", "¥12"),
    ("lines stay", "订单详情\n金额：¥12\n", "订单详情\n金额：¥12"),
    ("angle brackets of the picture stay", "a < b and <b>bold</b>", "a < b and <b>bold</b>"),
    ("beginnings of markers at the end stay", "1 </", "1 </"),
    ("the end of a tag that nothing opened", "运单号是 12</credit>", "运单号是 12"),
    ("several, with space between", "12 </div>\n</credit> \n", "12"),
    ("one that something opened stays", "<table>12</table>", "<table>12</table>"),
    ("one that something follows stays", "12</b> 13", "12</b> 13"),
    ("a marker that the limit cuts", "12<|end_of_im", "12"),
    ("an end that the limit cuts", "12</cred", "12"),
    ("a beginning that the limit cuts", "12[gMA", "12"),
    ("a marker that nobody closes", "<|assistant 12", "12"),
    ("nor at its very end", "12 <|user| 13", "12  13"),
    ("a letter in brackets stays at the end", "选 [b", "选 [b"),
    ("nothing but control tokens", "<|user|><|assistant|>", ""),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_template_leftovers_go_and_the_answer_stays(text, expected):
    assert clean(text) == expected


THOUGHTFUL = [
    ("let me see</think>\n¥12", Begins.EITHER, "¥12"),
    ("let me see</think>\n¥12", Begins.OPEN, "¥12"),
    ("<think>let me see</think>\n¥12", Begins.EITHER, "¥12"),
    ("<think>let me see</think>\n¥12", Begins.OPEN, "¥12"),
    ("¥12", Begins.EITHER, "¥12"),
    ("cut off by the limit", Begins.OPEN, ""),
    ("¥12<think>wait</think>¥13", Begins.EITHER, "¥12¥13"),
    ("hm</think>¥12<think>wait</think>¥13", Begins.EITHER, "¥12¥13"),
    ("", Begins.EITHER, ""),
]


@pytest.mark.parametrize(("text", "begins", "expected"), THOUGHTFUL)
def test_whether_a_text_begins_with_reasoning_is_for_its_prompt_to_say(text, begins, expected):
    assert clean(text, begins) == expected


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [("<|assistant|>\n<think>\n", True), ("<|assistant|>\n<think></think>\n", False), ("<think>?<|assistant|>", False)],
)
def test_a_prompt_that_ends_with_an_open_block_is_told_from_others(prompt, opened):
    assert opens_reasoning(prompt) is opened


MARKERS = (
    "<think>", "</think>", "<answer>", "</answer>", "/nothink", "<|begin_of_box|>", "<|end_of_box|>", "<|user|>",
    "[gMASK]", "[sMASK]", "[MASK]", "<sop>", "<eop>", "<unk>",
)  # fmt: skip
HALVES = (
    "<",
    "</",
    "<|",
    "<|begin_of_",
    "_box|>",
    "</credit>",
    "</b>",
    "<b>",
    "</cr",
    "edit>",
    "<|user ",
    "think>",
    "[",
    "[gMA",
    "SK]",
    "/",
    "/noth",
    "ink",
    "|>",
    "nswer>",
)
words = st.sampled_from(["¥12", "快递", " ", "\n", "\u3000", "a < b", "1/2", "😀"])
texts = st.lists(st.sampled_from(MARKERS) | st.sampled_from(HALVES) | words | st.text(max_size=3), max_size=14)


@given(texts, st.sampled_from(Begins), st.data())
def test_pieces_however_cut_make_the_clean_whole(parts, begins, data):
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=len(text))))
    answer = AnswerText(begins)
    told = [answer.push(text[start:end]) for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert "".join([*told, answer.finish()]) == clean(text, begins)
    assert clean(text, begins).startswith("".join(told))


@given(st.lists(st.sampled_from(MARKERS) | words, max_size=14))
def test_what_goes_is_what_expressions_over_the_whole_take_away(parts):
    """The definition in another way, for texts in which no two pieces make a marker together."""
    whole = re.sub(r"<think>.*?(</think>|\Z)", "", "".join(parts), flags=re.DOTALL)
    assert clean("".join(parts)) == re.sub("|".join(map(re.escape, MARKERS)), "", whole).strip()


def test_with_thinking_off_nothing_waits_for_more_than_the_rest_of_a_marker():
    answer = AnswerText()
    assert [answer.push(character) for character in "运单 12<b>[1]"] == [
        "运", "单", "", " 1", "2", "", "<b", ">", "", "[1", "]",
    ]  # fmt: skip
