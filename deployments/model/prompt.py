"""From a question to token ids, by the checkpoint's own chat template: system, user, picture, question.

The picture stands before the question in the user's turn: that order is what GLM was trained on, and it makes the
picture a prefix that later questions can share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from transformers import PreTrainedTokenizerBase

from deployments.contract import OVERVIEW, Place
from deployments.model.settings import CheckpointError

IMAGE_TOKEN = "<|image|>"


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


@dataclass(frozen=True, slots=True)
class PromptWriter:
    """Renders prompts for one checkpoint."""

    tokenizer: PreTrainedTokenizerBase
    image_token_id: int
    system_prompt: str = ""
    enable_thinking: bool = False

    def __post_init__(self) -> None:
        if not self.tokenizer.chat_template:
            raise CheckpointError(
                "the checkpoint has no chat template: it needs chat_template.jinja beside its tokenizer"
            )

    def write(self, question: str, image_tokens: Sequence[int], places: Sequence[Place] = ()) -> Prompt:
        """The prompt for ``question`` after pictures of ``image_tokens`` visual tokens each (may be empty).

        ``places`` says where in one large picture each of several belongs; without it they are not introduced.
        """
        parts = self.render(question, len(image_tokens), places).split(IMAGE_TOKEN)
        if len(parts) != len(image_tokens) + 1:
            raise CheckpointError(f"the chat template wrote {len(parts) - 1} pictures for {len(image_tokens)}")
        text = parts[0] + "".join(
            IMAGE_TOKEN * count + part for count, part in zip(image_tokens, parts[1:], strict=True)
        )
        ids = torch.tensor([self.tokenizer(text, add_special_tokens=False)["input_ids"]], dtype=torch.int64)
        return Prompt(ids, (ids == self.image_token_id).long())

    def render(self, question: str, pictures: int, places: Sequence[Place] = ()) -> str:
        """The prompt as text, with one ``<|image|>`` a picture."""
        content = [{"type": "text", "text": self.plain(question)}]
        if pictures > 1 and places:
            shown = [({"type": "text", "text": introduction(place)}, {"type": "image"}) for place in places]
            content = [*chain.from_iterable(shown), *content]
        else:
            content = [{"type": "image"}] * pictures + content
        messages = [{"role": "user", "content": content}]
        if self.system_prompt:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": self.system_prompt}]})
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=self.enable_thinking
        )
        return text

    def plain(self, text: str) -> str:
        """The text without what the tokenizer would read as a control token: a question cannot end its turn."""
        control = [str(token) for token in self.tokenizer.added_tokens_decoder.values()]
        before = None
        while before != text:  # removing one may put another together
            before = text
            for token in control:
                text = text.replace(token, "")
        return text
