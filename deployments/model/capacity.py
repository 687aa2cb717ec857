"""How much of a row is left for a picture and a question, and what a question costs at worst."""

from dataclasses import dataclass

from deployments.contract import ANY_SIZE, View
from deployments.model.prompt import Writer

SHORTEST_ANSWER = 64
"""Tokens that are kept free for the answer, however long the question."""
RARE = ("龘", "𠮷", "🙂", "\u0378", "\ufdfa", "\U0010fffd")
"""Characters that vocabularies have no word for: byte-level ones spell each as up to four tokens."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Tokens for picture and question together, of one character at worst, and of a picture's part besides its own."""

    prompt_tokens: int
    tokens_per_char: int
    part_tokens: int


def capacity(writer: Writer, length: int, view: View = ANY_SIZE) -> Capacity:
    """What is left of ``length`` tokens after template, system prompt and the shortest answer."""
    shown = view.tokens or 1
    bare = writer.write("", [shown]).tokens - shown
    parts = writer.write("", [1, 1], [(10, 10), (10, 10)]).tokens - 2 - bare if view.tiles else 0
    words = [len(writer.tokenizer(character, add_special_tokens=False)["input_ids"]) for character in RARE]
    return Capacity(length - bare - SHORTEST_ANSWER, max(words), -(-parts // 2))
