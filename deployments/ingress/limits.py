"""How much may be asked: the limits that callers are told are the ones that hold, whatever their questions are made of.

A row of the model's KV cache holds picture, question and answer together. A long question makes room for itself: a
large picture is then shown with fewer tiles, down to its overview.
"""

from deployments.contract import ModelInfo, PreprocessInfo


def question_chars(knob: int, model: ModelInfo | None, taken: PreprocessInfo | None) -> int:
    """The most characters of a question, of whatever characters, beside whatever picture; at least 1.

    ``knob`` is the operator's limit; without word from the others it is all that is known.
    """
    if model is None or taken is None:
        return knob
    return max(1, min(knob, (model.prompt_tokens - taken.overview_tokens) // model.tokens_per_char))


def picture_tokens(chars: int, model: ModelInfo | None, taken: PreprocessInfo | None) -> int | None:
    """Visual tokens that a picture may take beside a question of so many characters; None where nothing is known.

    Each of a large picture's parts is introduced by its place, which takes tokens too.
    """
    if model is None or taken is None:
        return None
    introductions = model.part_tokens * taken.most_parts
    return max(1, model.prompt_tokens - introductions - chars * model.tokens_per_char)
