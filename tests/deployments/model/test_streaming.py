"""Text as it can be shown: whole characters, and nothing that is taken away later."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from deployments.model.answer_text import Begins, clean
from deployments.model.streaming import TextStream

from .conftest import MARKERS, SPECIAL, build_tokenizer

TOKENIZER = build_tokenizer()
decode = partial(TOKENIZER.decode, skip_special_tokens=True)


def ids_of(text):
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def streamed(decode, ids, cuts, begins):
    """The pieces, and the last one, which the end of the answer brings."""
    stream = TextStream(decode, begins)
    pieces = [stream.push(ids[start:end]) for start, end in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
    return pieces, stream.finish(clean(decode(ids), begins))


@pytest.mark.parametrize(
    "text",
    ["第2行第4列缺失", "运单号：YD81078618558\n收件人：张伟", "a < b and c > d", "<think>hm</think>答案是 3", "<|begin_of_box|>12<|end_of_box|>", "[1]", "hm</think>答案是 3"],
)  # fmt: skip
@pytest.mark.parametrize("begins", Begins)
@pytest.mark.parametrize("step", [1, 2, 5])
def test_the_pieces_make_the_clean_answer(text, step, begins):
    """The tokenizer has a token for each byte: every Chinese character comes in three parts."""
    ids = ids_of(text)
    pieces, rest = streamed(decode, ids, range(step, len(ids), step), begins)
    assert "".join([*pieces, rest]) == clean(text, begins)
    assert not any("\ufffd" in piece for piece in pieces)


# Token for token: bytes that are whole characters, parts of them or none, control tokens, markers and their beginnings.
tokens = st.one_of(
    st.sampled_from(["运单号", "é", "😀", "<thi", "nk>", "</", "answer>", " ", "\n", "[1]", "\ufffd"]).map(ids_of),
    st.sampled_from([*SPECIAL, *MARKERS]).map(ids_of),
    st.integers(0, len(TOKENIZER) - 1).map(lambda token: [token]),
)


@settings(max_examples=400)
@given(st.lists(tokens, max_size=20), st.sampled_from(Begins), st.data())
def test_the_pieces_of_any_tokens_in_any_grouping_make_the_clean_whole(parts, begins, data):
    ids = [token for part in parts for token in part]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=len(ids))))
    pieces, rest = streamed(decode, ids, cuts, begins)
    assert "".join([*pieces, rest]) == clean(decode(ids), begins)


def test_a_character_is_shown_as_soon_as_it_is_whole():
    stream = TextStream(decode)
    assert [stream.push([token]) for token in ids_of("缺失")] == ["", "", "缺", "", "", "失"]


def test_reasoning_is_held_back_and_the_answer_after_it_is_not():
    pieces, rest = streamed(decode, ids := ids_of("hm</think>12"), range(1, len(ids)), Begins.EITHER)
    assert (pieces[-2:], set(pieces[:-2]), rest) == (["1", "2"], {""}, "")


def words_tokenizer(decoder):
    vocabulary = {word: place for place, word in enumerate(["▁a", "a", "##b", "b", "▁", "<0xE5>", "<0x8D>", "<0x95>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens([AddedToken("<|user|>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


SENTENCEPIECE = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)


@pytest.mark.parametrize("decoder", [SENTENCEPIECE, decoders.Metaspace(), decoders.WordPiece(cleanup=False)])
@given(ids=st.lists(st.integers(0, 8), max_size=12), data=st.data())
def test_tokenizers_that_read_a_token_by_its_neighbours_too(decoder, ids, data):
    tokenizer = words_tokenizer(decoder)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=len(ids))))
    told = partial(tokenizer.decode, skip_special_tokens=True)
    pieces, rest = streamed(told, ids, cuts, Begins.ANSWER)
    assert "".join([*pieces, rest]) == clean(told(ids))


@pytest.mark.parametrize("text", ["运单号：YD81078618558，", "plain words, ", "<|user|>"])
@pytest.mark.parametrize("junk", [[], [TOKENIZER.convert_tokens_to_ids("ÿ")] * 500], ids=["text", "bytes of nothing"])
def test_each_token_is_decoded_a_few_times_however_long_the_answer(text, junk):
    def decoded_for(repeats):
        counted = 0

        def counting(ids):
            nonlocal counted
            counted += len(ids)
            return decode(ids)

        stream, ids = TextStream(counting), (ids_of(text) + junk) * repeats
        for token in ids:
            stream.push([token])
        return counted / len(ids)

    assert max(map(decoded_for, (1, 4, 40))) <= 8
