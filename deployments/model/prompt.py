"""From a question to token ids: system, earlier turns, picture, question; here by a checkpoint's own chat template.

The picture stands before the question in the user's turn: that order is what GLM was trained on, and it makes the
picture a prefix that later questions can share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from deployments.contract import OVERVIEW, Place, Turn
from deployments.errors import QuestionEmpty, RequestError
from deployments.model.answer_text import Begins, opens_reasoning
from deployments.model.settings import CheckpointError
from deployments.texts import is_visible

IMAGE_TOKEN = "<|image|>"

Content = dict[str, str]


def introduction(place: Place) -> str:
    """How the model is told which part of a large picture comes next."""
    return "全图" if place == OVERVIEW else f"第{place[0]}行第{place[1]}列"


@dataclass(frozen=True, slots=True)
class Prompt:
    """``input_ids`` and ``mm_token_type_ids`` (1 where a picture stands), both int64 of shape (1, tokens)."""

    input_ids: torch.Tensor
    mm_token_type_ids: torch.Tensor

    @property
    def tokens(self) -> int:
        return int(self.input_ids.shape[1])

    @property
    def image_tokens(self) -> int:
        return int(self.mm_token_type_ids.sum())


class Writer(Protocol):
    """Writes prompts for one checkpoint."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...

    def write(
        self, question: str, image_tokens: Sequence[int], places: Sequence[Place] = (), turns: Sequence[Turn] = ()
    ) -> Prompt:
        """The prompt for ``question`` after pictures of ``image_tokens`` visual tokens each (may be empty).

        ``places`` says where in one large picture each of several belongs; without it they are not introduced.
        ``turns`` is what was said before. Raises RequestError for what the model cannot be asked.
        """
        ...

    def begins(self) -> Begins:
        """How what is generated after its prompts begins."""
        ...

    def check(self, question: str) -> None:
        """Raises QuestionEmpty where nothing to be seen is left of a question without its control tokens."""
        ...


@dataclass(frozen=True, slots=True)
class PromptWriter:
    """Renders prompts by a chat template."""

    tokenizer: PreTrainedTokenizerBase
    image_token_id: int
    system_prompt: str = ""
    enable_thinking: bool = False

    def __post_init__(self) -> None:
        if not self.tokenizer.chat_template:
            raise CheckpointError(
                "the checkpoint has no chat template: it needs chat_template.jinja beside its tokenizer"
            )

    def write(
        self, question: str, image_tokens: Sequence[int], places: Sequence[Place] = (), turns: Sequence[Turn] = ()
    ) -> Prompt:
        """As ``Writer`` says. Raises RequestError for turns that the template refuses."""
        parts = self.render(question, len(image_tokens), places, turns).split(IMAGE_TOKEN)
        if len(parts) != len(image_tokens) + 1:
            raise CheckpointError(f"the chat template wrote {len(parts) - 1} pictures for {len(image_tokens)}")
        text = parts[0] + "".join(
            IMAGE_TOKEN * count + part for count, part in zip(image_tokens, parts[1:], strict=True)
        )
        ids = torch.tensor([self.tokenizer(text, add_special_tokens=False)["input_ids"]], dtype=torch.int64)
        return Prompt(ids, (ids == self.image_token_id).long())

    def render(self, question: str, pictures: int, places: Sequence[Place] = (), turns: Sequence[Turn] = ()) -> str:
        """The prompt as text, with one ``<|image|>`` a picture; the operator's system prompt stands first."""
        messages = [_message(turn.role, self.plain(turn.text)) for turn in turns]
        messages.append({"role": "user", "content": self._asked(question, pictures, places)})
        if self.system_prompt:
            messages.insert(0, _message("system", self.system_prompt))
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=self.enable_thinking
            )
        except TemplateError as fault:
            if not turns:
                raise CheckpointError(f"the checkpoint's chat template refuses a plain question: {fault}") from fault
            raise RequestError(
                f"this model's chat template does not take these roles in this order: {fault}"
            ) from fault
        return text

    def begins(self) -> Begins:
        if opens_reasoning(self.render("1", 0)):
            return Begins.OPEN
        return Begins.EITHER if self.enable_thinking else Begins.ANSWER

    def check(self, question: str) -> None:
        check_words(self.plain(question))

    def plain(self, text: str) -> str:
        return plain(text, self.tokenizer)

    def _asked(self, question: str, pictures: int, places: Sequence[Place]) -> list[Content]:
        """The content of the last turn: the picture's parts, then the question."""
        asked: Content = {"type": "text", "text": self.plain(question)}
        if pictures > 1 and places:
            shown = [({"type": "text", "text": introduction(place)}, {"type": "image"}) for place in places]
            return [*chain.from_iterable(shown), asked]
        return [{"type": "image"}] * pictures + [asked]


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def check_words(plain_question: str) -> None:
    """Raises QuestionEmpty where nothing of a question without its control tokens is to be seen."""
    if not is_visible(plain_question):
        raise QuestionEmpty("nothing is left of the question without its control tokens: ask in words")


def plain(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text without what the tokenizer would read as a control token: a question cannot end its turn."""
    control = tuple(str(token) for token in tokenizer.added_tokens_decoder.values())
    if not any(token in text for token in control):
        return text
    longest = max(map(len, control))
    kept: list[str] = []
    for character in text:  # one left to right, for removing a token may put another together
        kept.append(character)
        end = "".join(kept[-longest:])
        if end.endswith(control):
            del kept[-len(next(token for token in control if end.endswith(token))) :]
    return "".join(kept)
