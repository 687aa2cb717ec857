"""Turn generated text into an answer: without reasoning, wrappers and leftovers of the chat template."""

import re

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
"""A reasoning block, also one that the token limit cut before its end."""

_WRAPPERS = re.compile(r"</?answer>|<\|begin_of_box\|>|<\|end_of_box\|>|</?think>|/nothink")
_SPECIAL = re.compile(r"<\|[a-z_]+\|>|\[gMASK\]|\[sMASK\]|\[MASK\]|<sop>|<eop>|<unk>")


def clean(text: str) -> str:
    """The answer in ``text``; empty if there is none (all reasoning, or nothing but control tokens)."""
    if "</think>" in text and "<think>" not in text:
        text = text.split("</think>", 1)[1]  # the template itself opened the block
    text = _THOUGHT.sub("", text)
    text = _WRAPPERS.sub("", text)
    return _SPECIAL.sub("", text).strip()
