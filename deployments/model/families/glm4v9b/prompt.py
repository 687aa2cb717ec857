"""The prompt of GLM-4V-9B as published, put together from ids: no text of a caller's can become a control token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from deployments.checkpoints import CheckpointError
from deployments.contract import Place, Turn
from deployments.errors import TooManyImages
from deployments.model.answer_text import Begins
from deployments.model.prompt import Prompt, check_words, plain

PREFIX = ("[gMASK]", "<sop>")
BEGIN, PATCH, END = "<|begin_of_image|>", "<|endoftext|>", "<|end_of_image|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
CONTROL = (*PREFIX, BEGIN, PATCH, END, *ROLES.values())


@dataclass(frozen=True, slots=True)
class IdWriter:
    """``[gMASK]<sop><|user|>\\n<|begin_of_image|><|endoftext|><|end_of_image|>question<|assistant|>``.

    The published code puts a picture's tokens in the place of the three of them; here the one in the middle stands as
    often as the picture has patches, so that every token has an id.
    """

    tokenizer: PreTrainedTokenizerBase
    system_prompt: str = ""

    def write(
        self, question: str, image_tokens: Sequence[int], places: Sequence[Place] = (), turns: Sequence[Turn] = ()
    ) -> Prompt:
        """As ``Writer`` says. Raises TooManyImages for more than one: the model knows one a conversation."""
        if len(image_tokens) > 1:
            raise TooManyImages(f"this model sees one picture a conversation, not {len(image_tokens)}: send one")
        ids = self._ids(*PREFIX)
        if self.system_prompt:
            ids += self._said("system", self.system_prompt)
        for turn in turns:
            ids += self._said(turn.role, plain(turn.text, self.tokenizer))
        ids += self._said("user", "")
        begin, shown = len(ids), self._picture(image_tokens[0]) if image_tokens else []
        ids += [*shown, *self._words(plain(question, self.tokenizer)), *self._ids(ROLES["assistant"])]
        pictured = torch.zeros(1, len(ids), dtype=torch.int64)
        pictured[:, begin : begin + len(shown)] = 1
        return Prompt(torch.tensor([ids]), pictured)

    def begins(self) -> Begins:
        return Begins.ANSWER

    def check(self, question: str) -> None:
        check_words(plain(question, self.tokenizer))

    def _said(self, role: str, text: str) -> list[int]:
        """The role's line, then what it says: two texts, which the published tokenizer reads one by one."""
        return [*self._ids(ROLES[role]), *self._words("\n"), *self._words(text)]

    def _picture(self, tokens: int) -> list[int]:
        begin, patch, end = self._ids(BEGIN, PATCH, END)
        return [begin, *[patch] * (tokens - 2), end]

    def _ids(self, *control: str) -> list[int]:
        return [int(self.tokenizer.convert_tokens_to_ids(token)) for token in control]

    def _words(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def check_control(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises CheckpointError when the tokenizer lacks a token that every prompt has."""
    known = tokenizer.get_vocab()
    if lacking := [token for token in CONTROL if token not in known]:
        raise CheckpointError(f"the tokenizer has no {lacking[0]}: it is not of GLM-4V-9B")
