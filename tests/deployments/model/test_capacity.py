"""What the model tells of a row's room: a question of the rarest characters within it fits."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from deployments.model.capacity import RARE, SHORTEST_ANSWER, capacity
from deployments.model.prompt import IMAGE_TOKEN, PromptWriter

DEMO = Path(__file__).parents[3] / "demo" / "checkpoint"


@pytest.fixture(scope="module")
def writer():
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    return PromptWriter(tokenizer, tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))


def test_a_question_and_a_picture_that_fit_leave_room_for_an_answer(writer):
    room, length = capacity(writer, 400), 400
    picture = 100
    chars = (room.prompt_tokens - picture) // room.tokens_per_char
    for character in RARE:
        assert writer.write(character * chars, [picture]).tokens + SHORTEST_ANSWER <= length


def test_the_parts_of_a_large_picture_are_counted(writer):
    room = capacity(writer, 400)
    places = [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    tokens = writer.write("", [10] * 5, places).tokens
    assert tokens <= 400 - room.prompt_tokens - SHORTEST_ANSWER + 5 * (10 + room.part_tokens)
