"""How much may be asked: the limits that callers are told are the ones that hold, whatever their questions are made of.

A row of the model's KV cache holds picture, question and answer together. A long question makes room for itself: a
large picture is then shown with fewer tiles, down to its overview.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.contract import ModelInfo, PreprocessInfo, Turn

TURN_TOKENS = 8
"""What a turn's role and line breaks may take, besides its words."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``question_chars`` is the most characters of a question, with what was said before it, beside any picture.

    ``row_tokens`` is what picture and question may take together, 0 while nobody has said.
    """

    question_chars: int
    row_tokens: int = 0
    tokens_per_char: int = 0

    def picture_tokens(self, question: str, turns: Sequence[Turn]) -> int | None:
        """Visual tokens that a picture may take beside these words; None while nobody has said."""
        chars = len(question) + sum(len(turn.text) for turn in turns)
        words = chars * self.tokens_per_char + TURN_TOKENS * len(turns)
        return max(1, self.row_tokens - words) if self.row_tokens else None


def limits(knob: int, model: ModelInfo, taken: PreprocessInfo) -> Limits:
    """``knob`` is the operator's limit on questions. Each part of a large picture is introduced by its place."""
    overview_only = model.prompt_tokens - (model.view.tokens or taken.overview_tokens)
    row_tokens = model.prompt_tokens - model.part_tokens * taken.most_parts
    chars = max(1, min(knob, overview_only // model.tokens_per_char))
    return Limits(chars, max(1, row_tokens), model.tokens_per_char)
