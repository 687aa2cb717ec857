"""What a question may be, with what was said before it: so long, of characters that are some, and not empty."""

from collections.abc import Sequence

from deployments.contract import Turn
from deployments.errors import QuestionEmpty, QuestionTooLong
from deployments.texts import check_readable, is_visible


def check_words(question: str, turns: Sequence[Turn], max_chars: int) -> None:
    """Raises QuestionTooLong, QuestionEmpty, or RequestError for text that is none. Lengths first: the quickest."""
    earlier = sum(len(turn.text) for turn in turns)
    if len(question) + earlier > max_chars:
        what = "the question and what was said before it together have" if earlier else "the question has"
        raise QuestionTooLong(
            f"{what} {len(question) + earlier} characters, more than the {max_chars} allowed: send fewer words"
        )
    if not is_visible(question):
        raise QuestionEmpty("the question is empty: say what you want to know about the picture")
    check_readable(question, "the question")
    for turn in turns:
        check_readable(turn.text, f"a message of role {turn.role}")
