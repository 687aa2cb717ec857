"""From demo pictures to training batches: several questions share one picture in one sequence.

Sequence of one lesson: ``prefix (template, picture or overview and tiles) | question answer | question answer | …``.
Each question sees the prefix and itself only, and its positions go on from the prefix, so every one of them looks to
the model exactly as it does alone at inference; the vision tower and the picture's keys are paid for once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import PreTrainedTokenizerFast

from demo.pictures import Picture, Question
from demo.reading import sources
from deployments.contract import OVERVIEW
from deployments.model.pixels import PatchLayout
from deployments.model.prompt import IMAGE_TOKEN, PromptWriter
from deployments.preprocess.tiling import Part, TileBudget, cut, plan

IGNORED = -100
SUBCOLUMNS = 4
LENGTH_STEP = 64
LEGIBLE_SCALE = 0.6
"""Below it the text of a part is too small to be told what stands where."""

Template = tuple[list[list[int]], list[int]]
"""Ids before, between and after the pictures, and after the question."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A picture as the model sees it, in one or more parts, and the questions about it."""

    picture: Picture
    parts: tuple[Part, ...]
    pixels: tuple[NDArray[np.uint8], ...]
    questions: tuple[Question, ...]

    @classmethod
    def about(cls, picture: Picture, questions: Sequence[Question], budget: TileBudget) -> "Lesson":
        height, width = picture.pixels.shape[:2]
        parts = plan(width, height, budget)
        return cls(picture, parts, cut(Image.fromarray(picture.pixels), parts), tuple(questions))


@dataclass(frozen=True, slots=True)
class Batch:
    """B lessons, padded to L tokens; T visual tokens in all.

    ``segments`` is 0 for the prefix, k for the k-th question and -1 for padding; ``positions`` is (3, B, L) M-RoPE;
    ``cells`` is (T, 4): the character id whose centre falls into each quarter column of a token's 28x28 square, 0 for
    none, ``IGNORED`` where the text is too small to be read. ``pointers`` (B, L) says from which quarter column the
    character in ``labels`` is read, as its token's place in the row * ``SUBCOLUMNS`` + the column. ``families`` names
    each lesson's.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor
    cells: torch.Tensor
    pointers: torch.Tensor
    pixels: list[NDArray[np.uint8]]
    families: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Writer:
    """Turns lessons into token sequences with the checkpoint's own template, as the service writes it."""

    tokenizer: PreTrainedTokenizerFast
    layout: PatchLayout
    _templates: dict[tuple[tuple[int, int], ...], Template] = field(default_factory=dict)

    def batch(self, lessons: Sequence[Lesson]) -> Batch:
        rows = [self._row(lesson) for lesson in lessons]
        # Few different lengths: each new one costs a compilation.
        length = -(-max(len(ids) for ids, *_ in rows) // LENGTH_STEP) * LENGTH_STEP

        def padded(column: int, fill: int) -> torch.Tensor:
            return torch.tensor([row[column] + [fill] * (length - len(row[column])) for row in rows])

        return Batch(
            input_ids=padded(0, self.tokenizer.pad_token_id),
            labels=padded(1, IGNORED),
            segments=padded(2, -1),
            positions=torch.stack([padded(axis, 0) for axis in (3, 4, 5)]),
            pointers=padded(6, IGNORED),
            cells=torch.cat([self._cells(lesson.picture, part) for lesson in lessons for part in lesson.parts]),
            pixels=[pixels for lesson in lessons for pixels in lesson.pixels],
            families=tuple(lesson.picture.family for lesson in lessons),
        )

    def _row(self, lesson: Lesson) -> tuple[list[int], ...]:
        between, after = self._template(tuple(part.place for part in lesson.parts))
        image = self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        ids: list[int] = []
        time: list[int] = []
        tall: list[int] = []
        wide: list[int] = []
        now = 0
        seen: dict[int, int] = {}

        def write(text: list[int]) -> None:
            nonlocal now
            ids.extend(text)
            for axis in (time, tall, wide):
                axis.extend(range(now, now + len(text)))
            now += len(text)

        write(between[0])
        for text, part in zip(between[1:], lesson.parts, strict=True):
            rows, columns = part.size[1] // self.layout.cell, part.size[0] // self.layout.cell
            for glyph, subcolumn in self._subcolumns(lesson.picture, part):
                seen.setdefault(glyph, len(ids) * SUBCOLUMNS + subcolumn)
            ids.extend([image] * (rows * columns))
            time.extend([now] * (rows * columns))
            tall.extend(now + row for row in range(rows) for _ in range(columns))
            wide.extend(now + column for _ in range(rows) for column in range(columns))
            now += max(rows, columns)
            write(text)
        labels, segments, pointers, base = [IGNORED] * len(ids), [0] * len(ids), [IGNORED] * len(ids), now
        for number, question in enumerate(lesson.questions, start=1):
            now = base
            asked = self._ids(question.text) + after
            # The model ends its turn as GLM does, with the token that opens the user's.
            answered = [*self._ids(question.answer), self.tokenizer.convert_tokens_to_ids("<|user|>")]
            write(asked + answered)
            labels += [IGNORED] * len(asked) + answered
            segments += [number] * (len(asked) + len(answered))
            read = sources(lesson.picture, question)
            places = [IGNORED if glyph is None else seen.get(glyph, IGNORED) for glyph in read]
            pointers += [IGNORED] * len(asked) + places + [IGNORED]
        return ids, labels, segments, time, tall, wide, pointers

    def _template(self, places: tuple[tuple[int, int], ...]) -> Template:
        """The prompt that the service writes for pictures at these places, cut where they and the question stand."""
        if places not in self._templates:
            image = self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
            prompt = PromptWriter(self.tokenizer, image).render("\0", len(places), places)
            before, after = prompt.split("\0")
            self._templates[places] = [self._ids(text) for text in before.split(IMAGE_TOKEN)], self._ids(after)
        return self._templates[places]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _cells(self, picture: Picture, part: Part) -> torch.Tensor:
        shape = (part.size[1] // self.layout.cell, part.size[0] // self.layout.cell * SUBCOLUMNS)
        if not _legible(part):
            return torch.full(shape, IGNORED, dtype=torch.int64).view(-1, SUBCOLUMNS)
        target = torch.zeros(shape, dtype=torch.int64).view(-1)
        for glyph, subcolumn in self._subcolumns(picture, part):
            target[subcolumn] = self.tokenizer.convert_tokens_to_ids(picture.glyphs[glyph].character)
        return target.view(-1, SUBCOLUMNS)

    def _subcolumns(self, picture: Picture, part: Part) -> Iterator[tuple[int, int]]:
        """(which glyph, the quarter column of the part that holds its centre, in reading order) of what can be read."""
        cell, (width, height) = self.layout.cell, part.size
        left, top, right, bottom = part.box
        scale_x, scale_y = width / (right - left), height / (bottom - top)
        if not _legible(part):
            return
        for index, (_, source_x, source_y) in enumerate(picture.glyphs):
            x, y = (source_x - left) * scale_x, (source_y - top) * scale_y
            if 0 <= x < width and 0 <= y < height:
                yield index, int(y // cell) * (width // cell * SUBCOLUMNS) + int(x // (cell / SUBCOLUMNS))


def _legible(part: Part) -> bool:
    """Whether the text of a part is large enough to be read."""
    left, _, right, _ = part.box
    return part.place != OVERVIEW or part.size[0] / (right - left) >= LEGIBLE_SCALE


def attention_mask(segments: torch.Tensor) -> torch.Tensor:
    """(B, 1, L, L) bool, True where a token may look: back, at the prefix or its own question, never at padding."""
    length = segments.shape[1]
    back = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    seen, looking = segments[:, None, :], segments[:, :, None]
    allowed = back & ((seen == 0) | (seen == looking)) & (seen >= 0)
    # Padding looks at itself: a row with nothing to see would turn to NaN.
    allowed |= torch.eye(length, dtype=torch.bool, device=segments.device)
    return allowed[:, None]
