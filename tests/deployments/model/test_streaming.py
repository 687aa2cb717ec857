"""Text as it can be shown: whole characters, and nothing that is taken away later."""

import pytest

from deployments.model.answer_text import clean
from deployments.model.streaming import TextStream


@pytest.mark.parametrize(
    "text",
    ["第2行第4列缺失", "运单号：YD81078618558\n收件人：张伟", "a < b and c > d", "<think>hm</think>答案是 3", "<|begin_of_box|>12<|end_of_box|>", "[1]"],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 2, 5])
def test_the_pieces_make_the_clean_answer(tokenizer, text, step):
    """The tokenizer has a token for each byte: every Chinese character comes in three parts."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    stream = TextStream(tokenizer.decode)
    pieces = [stream.push(ids[start : start + step]) for start in range(0, len(ids), step)]
    pieces.append(stream.finish(clean(text)))
    assert "".join(pieces) == clean(text)
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_is_shown_as_soon_as_it_is_whole(tokenizer):
    stream = TextStream(tokenizer.decode)
    assert [stream.push([token]) for token in tokenizer("缺失", add_special_tokens=False)["input_ids"]] == [
        "", "", "缺", "", "", "失",
    ]  # fmt: skip
