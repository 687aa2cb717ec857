"""The limit on questions that callers are told is the one that holds, whatever they are made of."""

import asyncio
from dataclasses import replace

import pytest

from deployments.contract import PreprocessInfo, Turn
from deployments.errors import Unavailable
from deployments.ingress.limits import Limits, limits

from .conftest import INFO

TAKEN = PreprocessInfo(("PNG",), 1_000_000, overview_tokens=324, most_parts=5)
MODEL = replace(INFO, prompt_tokens=2000, tokens_per_char=4, part_tokens=8)


@pytest.mark.parametrize(
    ("knob", "tokens_per_char", "told"),
    [(100, 4, 100), (2000, 4, (2000 - 324) // 4), (2000, 1, 2000 - 324), (10_000, 33, (2000 - 324) // 33)],
)
def test_a_question_has_room_beside_the_overview_of_any_picture(knob, tokens_per_char, told):
    assert limits(knob, replace(MODEL, tokens_per_char=tokens_per_char), TAKEN).question_chars == told


def test_a_row_too_small_for_any_picture_still_tells_a_limit():
    assert limits(2000, replace(MODEL, prompt_tokens=10), TAKEN).question_chars == 1


def test_a_longer_question_leaves_a_picture_fewer_tokens_and_earlier_turns_do_too():
    found = limits(400, MODEL, TAKEN)
    none, some = found.picture_tokens("", ()), found.picture_tokens("x" * 100, ())
    assert none == 2000 - 5 * 8
    assert some == none - 400
    assert found.picture_tokens("x" * 50, (Turn("system", "y" * 50),)) < some


def test_nothing_is_said_of_pictures_before_the_others_have_told():
    assert Limits(2000).picture_tokens("x", ()) is None


def test_healthz_tells_what_is_refused_beyond(service):
    service.knobs(max_question_chars=100_000)
    told = service.client.get("/healthz").json()["limits"]["max_question_chars"]
    assert told == (INFO.prompt_tokens - 324) // INFO.tokens_per_char
    for chars, status in ((told, 200), (told + 1, 400)):
        files, data = {"image": ("a.png", b"picture")}, {"question": "龘" * chars}
        assert service.client.post("/v1/ask", files=files, data=data).status_code == status


def test_without_the_others_word_the_operator_s_limit_is_told(service):
    service.model.info_faults = [Unavailable("away")]
    service.knobs(max_question_chars=7)
    assert asyncio.run(service.pipeline.limits()) == Limits(7)
