"""Where on a picture an answer is read: the target of the pointer (demo/reader.py)."""

import re
from collections.abc import Iterator

from demo.families import board
from demo.pictures import Picture, Question

Source = int | None
"""The index of a glyph of the picture, or None where a character is read from no single one."""

WORD = re.compile(r"\S+")
NUMBER = re.compile(r"\d")


def sources(picture: Picture, question: Question) -> list[Source]:
    """For each character of the answer, which glyph it is read from."""
    drawn = "".join(glyph.character for glyph in picture.glyphs)
    read: list[Source] = [None] * len(question.answer)
    for start, glyphs in _runs(drawn, picture, question):
        read[start : start + len(glyphs)] = glyphs
    return read


def _runs(drawn: str, picture: Picture, question: Question) -> Iterator[tuple[int, list[int]]]:
    """(where in the answer, the glyphs from there on), for each stretch that is known."""
    if question.kind == "transcription":
        yield from _words(drawn, question.answer)
    elif question.kind in ("which", "whether", "joint"):
        yield from _joints(drawn, picture, question)
    else:
        start = drawn.find(question.after) + len(question.after)
        found = drawn.find(question.answer, start)
        # Twice on the picture: unless it is known what comes before, nobody can say which of them was read.
        if found >= 0 and (question.after or drawn.count(question.answer) == 1):
            yield 0, list(range(found, found + len(question.answer)))


def _words(drawn: str, text: str) -> Iterator[tuple[int, list[int]]]:
    """Text is drawn nearly in its order; what is not found further on stands further up."""
    end = 0
    for word in WORD.finditer(text):
        found = drawn.find(word[0], end)
        if found < 0:
            found = drawn.find(word[0])
        if found >= 0:
            end = found + len(word[0])
            yield word.start(), list(range(found, end))


def _joints(drawn: str, picture: Picture, question: Question) -> Iterator[tuple[int, list[int]]]:
    """A joint is marked as its row, its state and its column, side by side."""
    defects = board.defects_of(picture)
    if question.kind == "joint":
        row, column = map(int, NUMBER.findall(question.text))
        state = defects.get((row, column), board.GOOD)[0]
        yield 0, [drawn.find(f"{row}{state}{column}") + 1] * len(question.answer)
        return
    start = 0
    for (row, column), kind in defects.items():
        mark = drawn.find(f"{row}{kind[0]}{column}")
        if question.kind == "whether":
            yield 0, [mark + 1]
            return
        # 第 2 行 第 4 列 缺失, and the comma before it: while it is written the next thing is looked for.
        yield max(0, start - 1), [mark] * (2 + bool(start)) + [mark + 2] * 3 + [mark + 1] * 3
        start += len(board.JOINT.format(row, column, kind)) + 1
