"""Parameters of the chat request: those that ask for what is done anyway are taken, the others refused by name."""

import pytest

NEUTRAL = {
    "a low temperature": {"temperature": 0},
    "OpenAI's own defaults": {"temperature": 1, "top_p": 1, "n": 1, "presence_penalty": 0, "frequency_penalty": 0},
    "LangChain": {"stream": False, "temperature": 0.7, "stop": None, "n": 1, "max_tokens": None},
    "LlamaIndex": {"temperature": 0.1, "stream": False, "logprobs": None, "top_logprobs": 0},
    "Vercel AI SDK": {"temperature": 0, "response_format": {"type": "text"}, "tools": None, "tool_choice": None},
    "Open WebUI": {"stream": False, "metadata": {"chat": "1"}, "user": "u", "seed": 7},
    "vLLM's benchmark": {"temperature": 0.0, "max_completion_tokens": 16, "ignore_eos": False, "repetition_penalty": 1.0},
    "guidellm": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}, "stop": None},
    "GLM's clients": {"chat_template_kwargs": {"enable_thinking": False}, "thinking": {"type": "disabled"}},
    "no tools": {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "functions": []},
    "newer notes": {"store": False, "service_tier": "auto", "safety_identifier": "a", "prompt_cache_key": "b",
                    "verbosity": "medium", "reasoning_effort": "none", "modalities": ["text"], "logit_bias": {}},
    "anything that is null": {"response_format": None, "whatever": None, "audio": None},
    "no end of its own": {"stop": [], "stop_token_ids": [], "min_tokens": 0, "top_k": -1, "min_p": 0},
}  # fmt: skip


@pytest.mark.parametrize("fields", NEUTRAL.values(), ids=NEUTRAL.keys())
def test_what_is_done_anyway_is_taken(chat, fields):
    response = chat(**fields)
    assert response.status_code == 200, response.text


REFUSED = [
    ("stop", ["\n"]),
    ("stop", "。"),
    ("response_format", {"type": "json_object"}),
    ("response_format", {"type": "json_schema", "json_schema": {}}),
    ("n", 0),
    ("n", 2),
    ("n", True),
    ("tools", [{"type": "function"}]),
    ("tool_choice", "required"),
    ("functions", [{}]),
    ("logprobs", True),
    ("top_logprobs", 3),
    ("logit_bias", {"5": 1}),
    ("presence_penalty", 0.5),
    ("frequency_penalty", -1),
    ("repetition_penalty", 1.1),
    ("top_k", 40),
    ("min_p", 0.1),
    ("do_sample", True),
    ("ignore_eos", True),
    ("min_tokens", 5),
    ("best_of", 3),
    ("modalities", ["text", "audio"]),
    ("reasoning_effort", "high"),
    ("verbosity", "low"),
    ("store", True),
    ("service_tier", "flex"),
    ("audio", {"voice": "alloy"}),
    ("prediction", {"type": "content"}),
    ("web_search_options", {}),
    ("chat_template_kwargs", {"enable_thinking": True}),
    ("stream_options", {"include_obfuscation": True}),
    ("guided_json", {}),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[f"{name}={value}" for name, value in REFUSED])
def test_what_would_have_no_effect_is_refused_by_its_name(service, chat, name, value):
    response = chat(**{name: value})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_parameter")
    assert f"`{name}" in response.json()["error"]["message"]
    assert service.model.questions == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("max_token", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("max-completion-tokens", "max_completion_tokens"),
        ("temprature", "temperature"),
        ("steam", "stream"),
        ("message", "messages"),
        ("response_fromat", "response_format"),
    ],
)
def test_a_misspelt_parameter_is_told_its_nearest_known_name(chat, written, meant):
    error = chat(**{written: 5}).json()["error"]
    assert error["code"] == "unsupported_parameter"
    assert f"did you mean `{meant}`?" in error["message"]


def test_an_unknown_parameter_s_name_is_repeated_in_bounds(chat):
    error = chat(**{"x\u202e" * 5000: 1}).json()["error"]
    assert error["code"] == "unsupported_parameter"
    assert len(error["message"]) < 300
    assert error["message"].isprintable()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 3),
        ("temperature", -0.1),
        ("temperature", "0"),
        ("temperature", True),
        ("top_p", 1.5),
        ("seed", "x"),
        ("seed", 1.5),
        ("user", 5),
        ("metadata", []),
        ("stream", "true"),
        ("stream", 1),
        ("stream_options", []),
        ("stream_options", {"include_usage": "yes"}),
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("max_tokens", 1.5),
        ("max_tokens", "16"),
        ("max_tokens", True),
        ("max_tokens", 10**9),
        ("max_tokens", 10**4000),
        ("max_completion_tokens", 0),
        ("model", None),
        ("model", 5),
    ],
)
def test_values_that_cannot_be_are_invalid(service, chat, name, value):
    response = chat(**{name: value})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    assert f"`{name}" in response.json()["error"]["message"]
    assert service.model.questions == []


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 8}, 8),
        ({"max_tokens": 9.0}, 9),
        ({"max_tokens": 5, "max_completion_tokens": 5}, 5),
        ({"max_tokens": None, "max_completion_tokens": 6}, 6),
    ],
)
def test_the_longest_answer_goes_by_either_name(service, chat, fields, tokens):
    assert chat(**fields).status_code == 200
    assert service.model.questions[0].max_new_tokens == tokens


def test_two_different_longest_answers_are_refused(chat):
    error = chat(max_tokens=5, max_completion_tokens=6).json()["error"]
    assert error["code"] == "invalid_request"
    assert "max_completion_tokens" in error["message"]
