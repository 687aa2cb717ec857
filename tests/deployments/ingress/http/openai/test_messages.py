"""What was said before the question, as chat frameworks send it, and each message that would be misread."""

import pytest

from deployments.contract import Turn
from tests.deployments.ingress.http.openai.conftest import URI, asking

SYSTEM = {"role": "system", "content": "be brief"}
IMAGE = asking()["content"][0]
ECHO = {"role": "assistant", "content": "12", "refusal": None, "annotations": [], "audio": None, "tool_calls": None,
        "function_call": None}  # fmt: skip

CONVERSATIONS = {
    "a system message": ([SYSTEM], [Turn("system", "be brief")]),
    "a developer's": ([{"role": "developer", "content": "be brief"}], [Turn("system", "be brief")]),
    "in parts": (
        [{"role": "system", "content": [{"type": "text", "text": "be"}, {"type": "text", "text": "brief"}]}],
        [Turn("system", "be\nbrief")],
    ),
    "earlier turns": (
        [SYSTEM, {"role": "user", "content": "你好", "name": "小王"}, ECHO],
        [Turn("system", "be brief"), Turn("user", "你好"), Turn("assistant", "12")],
    ),
    "system messages in between": (
        [{"role": "user", "content": "a"}, ECHO, SYSTEM],
        [Turn("user", "a"), Turn("assistant", "12"), Turn("system", "be brief")],
    ),
    "an answer that was broken off": ([{"role": "assistant", "content": None}], [Turn("assistant", "")]),
}


@pytest.mark.parametrize(("before", "turns"), CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_what_was_said_before_goes_to_the_model_in_its_roles(service, chat, before, turns):
    assert chat(messages=[*before, asking("几个？")]).status_code == 200
    asked = service.model.questions[0]
    assert (list(asked.turns), asked.text) == (turns, "几个？")


CONTENTS = {
    "the address alone": [{"type": "image_url", "image_url": URI}, {"type": "text", "text": "多少钱？"}],
    "with a detail": [{"type": "text", "text": "多少钱？"}, {"type": "image_url", "image_url": {"url": URI, "detail": "high"}}],
    "with null": [{**IMAGE, "text": None}, {"type": "text", "text": "多少钱？", "cache_control": {"type": "ephemeral"}}],
    "the picture twice": [IMAGE, {"type": "text", "text": "多少钱？"}, IMAGE],
}  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_the_picture_is_found_however_it_is_written(service, chat, content):
    assert chat(messages=[{"role": "user", "content": content}]).status_code == 200
    assert service.model.questions[0].text == "多少钱？"
    assert service.preprocessor.calls == 1


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


REFUSED = {
    "no list": ("hello", "invalid_request", "`messages` must be"),
    "not an object": (["hello"], "invalid_request", "messages[0] must be an object"),
    "no role": ([{"content": "x"}], "invalid_request", "messages[0].role"),
    "an odd role": ([{"role": "bot", "content": "x"}], "invalid_request", "`bot`"),
    "a tool's": ([asking(), {"role": "tool", "content": "x"}], "invalid_request", "calls no tools"),
    "a function's": ([asking(), {"role": "function", "content": "x"}], "invalid_request", "calls no tools"),
    "the last one is no question": ([asking(), ECHO], "invalid_request", "the last message must be of role user"),
    "only a system message": ([SYSTEM], "invalid_request", "the last message must be of role user"),
    "an earlier picture": ([asking(), ECHO, asking()], "invalid_request", "put the picture into the last message"),
    "a picture of the system's": (
        [{"role": "system", "content": [IMAGE]}, asking()], "invalid_request", "of role system and has a picture",
    ),
    "tool calls": ([{**ECHO, "tool_calls": [{"id": "1"}]}, asking()], "unsupported_parameter", "messages[0].tool_calls"),
    "an unknown field": ([{**asking(), "contents": "x"}], "unsupported_parameter", "did you mean `content`?"),
    "no content": ([{"role": "user"}], "invalid_request", "messages[0].content must be text"),
    "a part that is none": (user("hello"), "invalid_request", "messages[0].content[0] must be an object with a type"),
    "an unknown part": (user({"type": "video"}), "invalid_request", "videos are not seen"),
    "another API's picture": (user({"type": "input_image", "image_url": URI}), "invalid_request", "another API"),
    "a third API's picture": (user({"type": "image", "source": {}}), "invalid_request", "another API"),
    "a file": (user({"type": "file", "file": {}}), "invalid_request", "files are not read"),
    "sound": (user({"type": "input_audio"}), "invalid_request", "audio is not heard"),
    "something new": (user({"type": "hologram"}), "invalid_request", "`hologram`"),
    "a text part without": (user(IMAGE, {"type": "text"}), "invalid_request", "messages[0].content[1].text must be text"),
    "a picture without address": (user({"type": "image_url"}), "invalid_request", "messages[0].content[0].image_url must be"),
    "an odd detail": (
        user({"type": "image_url", "image_url": {"url": URI, "detail": "ultra"}}), "unsupported_parameter", "detail",
    ),
    "too many messages": ([{"role": "user", "content": "x"}] * 101, "invalid_request", "more than the 100"),
    "too many parts": (user(*[{"type": "text", "text": "x"}] * 101), "invalid_request", "more than the 100"),
    "no picture": ([{"role": "user", "content": "x"}], "image_missing", "image_url"),
    "two pictures": (user(IMAGE, {"type": "image_url", "image_url": "https://a/b"}), "too_many_images", "send one"),
    "too much said in all": (
        [{"role": "user", "content": "长" * 1500}, ECHO, asking("长" * 600)], "question_too_long", "2102 characters",
    ),
    "an empty question": ([SYSTEM, asking("\u200b\ufeff")], "question_empty", "empty"),
    "half a pair said before": ([{"role": "user", "content": "\ud800"}, asking()], "invalid_request", "U+D800"),
    "a control character said before": ([{"role": "system", "content": "a\x00"}, asking()], "invalid_request", "U+0000"),
}  # fmt: skip


@pytest.mark.parametrize(("messages", "code", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_message_that_would_be_misread_is_refused_and_named(service, chat, messages, code, says):
    error = chat(messages=messages).json()["error"]
    assert error["code"] == code
    assert says in error["message"]
    assert service.model.questions == []


def test_answers_to_other_conversations_are_not_given_from_the_cache(service, chat):
    from deployments.ingress.answers.cache import MemoryCache

    service.pipeline._answers._cache = MemoryCache(10, 60)
    conversations = (
        [asking()],
        [SYSTEM, asking()],
        [{"role": "user", "content": "be brief"}, asking()],
        [SYSTEM, asking()],
    )
    for messages in conversations:
        assert chat(messages=messages).status_code == 200
    assert len(service.model.questions) == 3
