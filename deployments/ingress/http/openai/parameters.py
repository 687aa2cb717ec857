"""OpenAI's parameters beside messages and model, and those that its clients add: what each may be here, and why.

A value is taken if it asks for what is done anyway; null is as good as nothing. Decoding is deterministic, so that
sampling parameters are taken and change nothing; what would change the answer and cannot is refused.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.errors import RequestError, UnsupportedParameter
from deployments.ingress.http.openapi import Schema
from deployments.texts import quoted

MAX_NEW_TOKENS = 1_000_000
READ = ("model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options")
"""Parameters with an effect."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One without an effect: ``schema`` is what is taken, in JSON Schema; ``error`` is raised for the rest."""

    schema: Schema
    takes: Callable[[Any], bool]
    error: type[RequestError]
    advice: str


def only(*values: Any, advice: str) -> Parameter:
    """What is done anyway, and nothing else."""
    return Parameter(
        {"enum": [None, *values]}, lambda given: any(_same(given, v) for v in values), UnsupportedParameter, advice
    )


def number(least: float, most: float) -> Parameter:
    return Parameter(
        {"type": ["number", "null"], "minimum": least, "maximum": most},
        lambda given: _is_number(given) and least <= given <= most,
        RequestError,
        f"it must be a number from {least:g} to {most:g}, and has no effect: answers are always the most likely ones",
    )


def anything(kind: type, named: str) -> Parameter:
    """A note of the caller's own."""
    return Parameter(
        {"type": [named, "null"]}, lambda given: type(given) is kind, RequestError, f"it must be of JSON's type {named}"
    )


LEAVE_OUT = "it is not supported: leave it out"
WORDS = "the model calls no tools and takes none: leave it out, and ask in words"
ONE_ANSWER = "there is one answer to a question, the same every time: leave it out"
NO_PENALTY = "answers are always the most likely ones, unweighted: leave it out"
ENDS = "an answer ends where the model ends it: leave it out, and cut the answer yourself"

PARAMETERS: Mapping[str, Parameter] = {
    # Sampling
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "seed": anything(int, "integer"),
    "top_k": only(-1, 0, 1, advice=NO_PENALTY),
    "min_p": only(0, advice=NO_PENALTY),
    "do_sample": only(False, advice=NO_PENALTY),
    "presence_penalty": only(0, advice=NO_PENALTY),
    "frequency_penalty": only(0, advice=NO_PENALTY),
    "repetition_penalty": only(1, advice=NO_PENALTY),
    "logit_bias": only({}, advice=NO_PENALTY),
    # How many answers, how long, of which form
    "n": only(1, advice=ONE_ANSWER),
    "best_of": only(1, advice=ONE_ANSWER),
    "stop": only([], "", advice=ENDS),
    "stop_token_ids": only([], advice=ENDS),
    "ignore_eos": only(False, advice=ENDS),
    "min_tokens": only(0, advice=ENDS),
    "response_format": only({"type": "text"}, advice="answers are plain text: ask for their form in words"),
    "modalities": only(["text"], advice="answers are text: leave it out"),
    "verbosity": only("medium", advice="say in words how long an answer should be, or send `max_tokens`"),
    "reasoning_effort": only("none", advice="the model answers without reasoning aloud: leave it out"),
    "logprobs": only(False, advice=LEAVE_OUT),
    "top_logprobs": only(0, advice=LEAVE_OUT),
    "skip_special_tokens": only(True, advice=LEAVE_OUT),
    "echo": only(False, advice=LEAVE_OUT),
    # Tools and other media
    "tools": only([], advice=WORDS),
    "tool_choice": only("none", "auto", advice=WORDS),
    "parallel_tool_calls": anything(bool, "boolean"),
    "functions": only([], advice=WORDS),
    "function_call": only("none", "auto", advice=WORDS),
    "web_search_options": only(advice=WORDS),
    "audio": only(advice="answers are text: leave it out"),
    "prediction": only(advice=LEAVE_OUT),
    "moderation": only(advice=LEAVE_OUT),
    # The template's
    "chat_template_kwargs": only({}, {"enable_thinking": False}, advice="the operator sets how prompts are written"),
    "thinking": only({"type": "disabled"}, advice="the model answers without reasoning aloud: leave it out"),
    "add_generation_prompt": only(True, advice=LEAVE_OUT),
    "continue_final_message": only(False, advice=LEAVE_OUT),
    # Notes about the caller and the account
    "user": anything(str, "string"),
    "metadata": anything(dict, "object"),
    "safety_identifier": anything(str, "string"),
    "prompt_cache_key": anything(str, "string"),
    "prompt_cache_options": only({}, advice=LEAVE_OUT),
    "prompt_cache_retention": only("in_memory", "in-memory", advice=LEAVE_OUT),
    "store": only(False, advice="requests are not stored: leave it out"),
    "service_tier": only("auto", "default", advice="there is one tier: leave it out"),
    "priority": only(0, advice=LEAVE_OUT),
}


def check_parameters(body: Mapping[str, Any]) -> None:
    """Raises UnsupportedParameter or RequestError for the first that asks for what is not done here."""
    for name, given in body.items():
        if given is None or name in READ:
            continue
        parameter = PARAMETERS.get(name)
        if parameter is None:
            raise UnsupportedParameter(unknown(name, (*READ, *PARAMETERS)))
        if not parameter.takes(given):
            raise parameter.error(f"the parameter `{name}` cannot be this: {parameter.advice}")


def unknown(name: str, known: tuple[str, ...]) -> str:
    """What to say of a name that means nothing here, with the known one it was probably meant to be."""
    near = difflib.get_close_matches(name[:64].lower().replace("-", "_"), known, 1, 0.7)
    hint = f"did you mean `{near[0]}`?" if near else "leave it out"
    return f"the parameter {quoted(name)} is unknown and would have no effect: {hint}"


def max_new_tokens(body: Mapping[str, Any]) -> int | None:
    """The longest answer in tokens, by either of its names. Raises RequestError."""
    names = ("max_completion_tokens", "max_tokens")
    given = {name: _tokens(name, body[name]) for name in names if body.get(name) is not None}
    if len(set(given.values())) > 1:
        raise RequestError("`max_tokens` and `max_completion_tokens` are two names for one limit and differ: send one")
    return next(iter(given.values()), None)


def flag(value: Any, name: str) -> bool:
    """A boolean that is false where it is not given. Raises RequestError."""
    if value is None or isinstance(value, bool):
        return bool(value)
    raise RequestError(f"`{name}` must be true or false")


def includes_usage(options: Any) -> bool:
    """Whether ``stream_options`` ask for the usage. Raises RequestError, UnsupportedParameter.

    ``continuous_usage_stats``, as load testers send it, is taken: the usage comes once, at the end.
    """
    if options is None:
        return False
    if not isinstance(options, dict):
        raise RequestError('`stream_options` must be an object such as {"include_usage": true}')
    known = ("include_usage", "continuous_usage_stats", "include_obfuscation")
    for name, value in options.items():
        if value is not None and name not in known:
            raise UnsupportedParameter("in `stream_options`, " + unknown(name, known))
    if flag(options.get("include_obfuscation"), "stream_options.include_obfuscation"):
        raise UnsupportedParameter("`stream_options.include_obfuscation` is not supported: leave it out")
    flag(options.get("continuous_usage_stats"), "stream_options.continuous_usage_stats")
    return flag(options.get("include_usage"), "stream_options.include_usage")


def _tokens(name: str, given: Any) -> int:
    if not _is_number(given) or not 1 <= given <= MAX_NEW_TOKENS or given != int(given):
        raise RequestError(f"`{name}` must be a whole number from 1 to {MAX_NEW_TOKENS}")
    return int(given)


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it, where true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
