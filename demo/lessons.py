"""From demo pictures to training batches: several questions share one picture in one sequence.

Sequence of one picture: ``prefix (template, picture) | question answer | question answer | …``. Each question sees the
prefix and itself only, and its positions go on from the prefix, so every one of them looks to the model exactly as it
does alone at inference; the vision tower and the picture's keys are paid for once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from demo.pictures import Picture, Question
from deployments.model.pixels import PatchLayout, token_count

IGNORED = -100
SUBCOLUMNS = 4
LENGTH_STEP = 32


@dataclass(frozen=True, slots=True)
class Batch:
    """B pictures with their questions, padded to L tokens; T visual tokens in all.

    ``segments`` is 0 for the prefix, k for the k-th question and -1 for padding; ``positions`` is (3, B, L) M-RoPE;
    ``cells`` is (T, 4): the character id whose centre falls into each quarter column of a token's 28x28 square, or 0.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor
    cells: torch.Tensor
    pixels: list[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Writer:
    """Turns pictures and questions into token sequences with the checkpoint's own template."""

    tokenizer: PreTrainedTokenizerFast
    layout: PatchLayout
    _template: tuple[list[int], int, list[int], list[int]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_template", self._rendered_template())

    def batch(self, lessons: Sequence[tuple[Picture, Sequence[Question]]]) -> Batch:
        rows = [self._row(picture, questions) for picture, questions in lessons]
        # Few different lengths: each new one costs the CPU's kernels a compilation.
        length = -(-max(len(ids) for ids, *_ in rows) // LENGTH_STEP) * LENGTH_STEP

        def padded(column: int, fill: int) -> torch.Tensor:
            return torch.tensor([row[column] + [fill] * (length - len(row[column])) for row in rows])

        positions = torch.stack([padded(axis, 0) for axis in (3, 4, 5)])
        cells = torch.cat([self._cells(picture) for picture, _ in lessons])
        pixels = [picture.pixels for picture, _ in lessons]
        pad = self.tokenizer.pad_token_id
        return Batch(padded(0, pad), padded(1, IGNORED), padded(2, -1), positions, cells, pixels)

    def _row(self, picture: Picture, questions: Sequence[Question]) -> tuple[list[int], ...]:
        height, width = picture.pixels.shape[:2]
        rows, columns = height // self.layout.cell, width // self.layout.cell
        opening, image, closing, after = self._template
        ids = opening + [image] * token_count(height, width, self.layout) + closing
        start, largest = len(opening), max(rows, columns)
        time = [*range(start), *[start] * (rows * columns)]
        tall = [*range(start), *[start + r for r in range(rows) for _ in range(columns)]]
        wide = [*range(start), *[start + c for _ in range(rows) for c in range(columns)]]
        follow = list(range(start + largest, start + largest + len(closing)))
        time, tall, wide = time + follow, tall + follow, wide + follow
        labels, segments, base = [IGNORED] * len(ids), [0] * len(ids), follow[-1] + 1
        for number, question in enumerate(questions, start=1):
            asked = self._ids(question.text) + after
            # The model ends its turn as GLM does, with the token that opens the user's.
            answered = [*self._ids(question.answer), self.tokenizer.convert_tokens_to_ids("<|user|>")]
            ids += asked + answered
            labels += [IGNORED] * len(asked) + answered
            segments += [number] * (len(asked) + len(answered))
            follow = list(range(base, base + len(asked) + len(answered)))
            time, tall, wide = time + follow, tall + follow, wide + follow
        return ids, labels, segments, time, tall, wide

    def _rendered_template(self) -> tuple[list[int], int, list[int], list[int]]:
        """Ids before the picture, of it, after it, and after the question, cut out of the rendered chat template."""
        messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "\0"}]}]
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        before, after = text.split("\0")
        opening, closing = before.split("<|image|>")
        image = self.tokenizer.convert_tokens_to_ids("<|image|>")
        return self._ids(opening), image, self._ids(closing), self._ids(after)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _cells(self, picture: Picture) -> torch.Tensor:
        cell, (height, width) = self.layout.cell, picture.pixels.shape[:2]
        target = torch.zeros(height // cell, width // cell * SUBCOLUMNS, dtype=torch.int64)
        for character, x, y in picture.glyphs:
            if 0 <= x < width and 0 <= y < height:
                target[int(y // cell), int(x // (cell / SUBCOLUMNS))] = self.tokenizer.convert_tokens_to_ids(character)
        return target.view(-1, SUBCOLUMNS)


def attention_mask(segments: torch.Tensor) -> torch.Tensor:
    """(B, 1, L, L) bool, True where a token may look: back, at the prefix or its own question, never at padding."""
    length = segments.shape[1]
    back = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    seen, looking = segments[:, None, :], segments[:, :, None]
    allowed = back & ((seen == 0) | (seen == looking)) & (seen >= 0)
    # Padding looks at itself: a row with nothing to see would turn to NaN.
    allowed |= torch.eye(length, dtype=torch.bool, device=segments.device)
    return allowed[:, None]


def questions_for(picture: Picture, rng: Random, fields: int) -> list[Question]:
    """One transcription and ``fields`` field questions, as training asks them."""
    from demo import orders

    return [orders.transcription(picture, rng), *(orders.field_question(picture, rng, 0.15) for _ in range(fields))]
