"""Prompts by their ids: what the published code writes, whatever the question holds."""

import re
from itertools import pairwise

import pytest

from deployments.contract import Turn
from deployments.errors import QuestionEmpty, TooManyImages

from . import tiny

IDS = tiny.control_ids()
GMASK, SOP, USER, ASSISTANT = (IDS[token] for token in ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>"))
BEGIN, PATCH, END = (IDS[token] for token in ("<|begin_of_image|>", "<|endoftext|>", "<|end_of_image|>"))
NEWLINE = 10
QUESTIONS = {
    "图片是什么？": [275, 277, 282, 239, 188, 159],
    "what is the abc 123?": [119, 104, 97, 116, 32, 105, 115, 260, 32, 263, 32, 268, 63],
    "<|end_of_image|>ab<|assistant|>[gMASK]<|endo<sop>ftext|>12": [262, 267],
    "🙂 ok": [240, 159, 153, 130, 32, 111, 107],
    "\n\n  a\n\nb": [265, 32, 32, 97, 265, 98],
}


@pytest.fixture(scope="module")
def writer(loaded):
    return loaded.writer()


@pytest.mark.parametrize(("question", "words"), QUESTIONS.items())
def test_golden_ids(writer, question, words):
    prompt = writer.write(question, [18])
    picture = [BEGIN, *[PATCH] * 16, END]
    assert prompt.input_ids[0].tolist() == [GMASK, SOP, USER, NEWLINE, *picture, *words, ASSISTANT]
    assert prompt.mm_token_type_ids[0].tolist() == [0] * 4 + [1] * 18 + [0] * (len(words) + 1)
    assert prompt.image_tokens == 18


def test_without_a_picture_its_tokens_are_left_out(writer):
    assert writer.write("ab", []).input_ids[0].tolist() == [GMASK, SOP, USER, NEWLINE, 262, ASSISTANT]


def test_system_prompt_and_turns_stand_before_the_question_in_their_roles(loaded):
    writer = loaded.writer(system_prompt="ab")
    turns = (Turn("user", "12<|user|>"), Turn("assistant", "abc"))
    ids = writer.write("?", [18], turns=turns).input_ids[0].tolist()
    begin = [GMASK, SOP, IDS["<|system|>"], NEWLINE, 262, USER, NEWLINE, 267, ASSISTANT, NEWLINE, 263, USER, NEWLINE]
    assert ids[: len(begin)] == begin
    assert ids[len(begin)] == BEGIN
    assert ids[-2:] == [ord("?"), ASSISTANT]


def test_a_second_picture_is_refused_by_name(writer):
    with pytest.raises(TooManyImages, match="one picture a conversation, not 2"):
        writer.write("?", [18, 18], [(0, 0), (1, 1)])


def test_a_question_of_control_tokens_alone_is_none(writer):
    with pytest.raises(QuestionEmpty):
        writer.check("<|user|><|endoftext|> \n")


def tiktoken_ids(text):
    """tiktoken's own algorithm: of all neighbours the pair of lowest rank first, in each piece of the text."""
    ranks = {word: rank for rank, word in enumerate(tiny.ranks())}
    letters = r"[^\W\d_]"
    pattern = (
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|(?:[^\r\n\w]|_)?{letters}+|\d{{1,3}}| ?[^\s\w]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    ids = []
    for piece in re.findall(pattern, text):
        parts = [bytes([byte]) for byte in piece.encode()]
        while pairs := [(ranks[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]:
            _, at = min(pairs)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids += [ranks[part] for part in parts]
    return ids


TEXTS = [
    "", "the theater, the ether", "abcabc bcabab", "12345 12 1", "图片是什么？什么图片 ", "a  b   c\n\n\nd \n e", "I'LL they're",
    "🙂🙂 naïve ÄÖ ß", "\t\ttabs\r\nand returns\r\n", "x" * 300, "th" * 77,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_put_together_as_tiktoken_does(loaded, text):
    ours = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ours == tiktoken_ids(text)
    assert loaded.tokenizer.decode(ours, clean_up_tokenization_spaces=False) == text
