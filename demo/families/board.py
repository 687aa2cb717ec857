"""Circuit boards: a numbered grid of solder joints, some of them missing, bridged, cold or shifted."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from demo import fields, fonts, words
from demo.canvas import Canvas, Colour, Theme, noisy, shade
from demo.families.family import Family, difficulty
from demo.fields import Field
from demo.pictures import Picture, Question, Size

DEFECTS = ("缺失", "桥接", "虚焊", "偏移")
MISSING, BRIDGED, COLD, SHIFTED = DEFECTS
NO_DEFECT, YES, NO, PLACES, JOINT = "没有缺陷", "有", "没有", "{0}处", "第{0}行第{1}列{2}"
GOOD = "好"

WHICH = ("哪个焊点有问题？", "哪些焊点有问题？", "哪里有缺陷？", "Which joint is defective?")
WHETHER = ("有没有缺陷？", "有没有缺陷", "这块板有缺陷吗？", "Is there a defect?")
HOW_MANY = ("有几处缺陷？", "缺陷有几处？", "How many defects?")
AT = "第{0}行第{1}列有什么问题？"
OUTSIDE = "图中没有第{0}行第{1}列"


def _number(rng: Random) -> str:
    return f"{rng.choice(('TW', 'PCB', 'MB'))}-{words.digits(rng, 4)}"


def _serial(rng: Random) -> str:
    return rng.choice("ABCDEFGH") + words.digits(rng, 7)


NUMBER = Field("board_number", ("板号", "型号"), "board number", _number)
SERIAL = Field("serial_number", ("序列号", "批号"), "serial number", _serial)
FIELDS = (NUMBER, SERIAL)

# Solder masks as they are sold: green, blue, red, black, white; the print on them light or, on white, dark.
MASKS: tuple[tuple[Colour, Colour], ...] = (
    ((20, 95, 50), (235, 240, 235)),
    ((25, 55, 125), (235, 235, 245)),
    ((140, 30, 35), (245, 235, 235)),
    ((35, 35, 38), (225, 225, 225)),
    ((225, 225, 220), (40, 40, 40)),
)


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the joints are: rows and columns count from 1."""

    rows: int
    columns: int
    left: float
    top: float
    pitch: float

    def centre(self, row: int, column: int) -> tuple[float, float]:
        return self.left + (column - 1) * self.pitch, self.top + (row - 1) * self.pitch

    def joints(self) -> list[tuple[int, int]]:
        return [(row, column) for row in range(1, self.rows + 1) for column in range(1, self.columns + 1)]


def draw(rng: Random, size: Size, faces: Sequence[str] = fonts.TRAINED, fewest: bool = False) -> Picture:
    """A board with its name, numbered rows and columns, and no, one, two or three defects."""
    width, height = size
    mask, print_ink = rng.choice(MASKS)
    red, green, blue = (max(0, min(255, value + rng.randint(-12, 12))) for value in mask)
    canvas = Canvas(width, height, Theme((red, green, blue), print_ink, print_ink, print_ink))
    face = rng.choice(faces)
    values: dict[str, str] = {}
    lines: list[str] = []
    heading = [NUMBER] if fewest or rng.random() < 0.5 else [NUMBER, SERIAL]
    for number, item in enumerate(heading):
        values[item.key] = item.value(rng)
        lines.append(f"{item.labels[0]}：{values[item.key]}")
        canvas.text(10, 16 + 29 * number, lines[-1], fonts.load(face, rng.randint(17, 20)), print_ink)
    grid = _grid(rng, width, height, 29.0 * len(heading) + 4, fewest)
    lines += _numbers(canvas, grid, face)
    defects = _defects(rng, grid)
    _solder(canvas, rng, grid, defects)
    values |= {f"{row},{column}": kind for (row, column), kind in defects.items()}
    values["grid"] = f"{grid.rows}x{grid.columns}"
    pixels = noisy(canvas.pixels(), rng)
    return Picture(FAMILY.name, pixels, tuple(canvas.glyphs), tuple(lines), values, difficulty(len(defects) - 1))


def _grid(rng: Random, width: int, height: int, top: float, fewest: bool) -> Grid:
    pitch = rng.uniform(33, 40)
    most_rows, most_columns = int((height - top - 30) // pitch), int((width - 36) // pitch)
    rows = rng.randint(2, 3 if fewest else min(7, most_rows))
    columns = rng.randint(3, 4 if fewest else min(9, most_columns))
    spare_x, spare_y = width - 36 - columns * pitch, height - top - 30 - rows * pitch
    left = 34 + pitch / 2 + rng.uniform(0, max(0, spare_x))
    return Grid(rows, columns, left, top + 28 + pitch / 2 + rng.uniform(0, max(0, spare_y)), pitch)


def _numbers(canvas: Canvas, grid: Grid, face: str) -> list[str]:
    """Print the numbers of the columns above the grid and of the rows to its left; returns them as text lines."""
    font, ink = fonts.load(face, 17), canvas.theme.ink
    for column in range(1, grid.columns + 1):
        x, y = grid.centre(1, column)
        canvas.centred(x, y - grid.pitch / 2 - 11, str(column), font, ink)
    for row in range(1, grid.rows + 1):
        x, y = grid.centre(row, 1)
        canvas.centred(x - grid.pitch / 2 - 13, y, str(row), font, ink)
    return [" ".join(map(str, range(1, grid.columns + 1))), *map(str, range(1, grid.rows + 1))]


def _defects(rng: Random, grid: Grid) -> dict[tuple[int, int], str]:
    """What is wrong where, in reading order; a bridge is told by its left joint."""
    count = rng.choices((0, 1, 2, 3), (25, 40, 22, 13))[0]
    found: dict[tuple[int, int], str] = {}
    for row, column in rng.sample(grid.joints(), count):
        kind = rng.choice(DEFECTS)
        beside = {(row, column - 1), (row, column + 1)} & found.keys()
        if beside or (kind == BRIDGED and column == grid.columns):
            continue  # neighbours would hide each other, and the last joint has none to the right
        found[row, column] = kind
    return dict(sorted(found.items()))


def _solder(canvas: Canvas, rng: Random, grid: Grid, defects: dict[tuple[int, int], str]) -> None:
    copper, tin = shade(rng, 150, 190), rng.randint(185, 215)
    copper = (copper[0], int(copper[1] * 0.75), int(copper[2] * 0.4))
    pad, blob = grid.pitch * rng.uniform(0.34, 0.4), grid.pitch * rng.uniform(0.25, 0.29)
    for row, column in grid.joints():
        x, y = grid.centre(row, column)
        _disc(canvas, x, y, pad, copper)
        kind = defects.get((row, column))
        # The vision tower is told the joint's row, its state and its column, side by side in the sub-columns.
        canvas.mark(str(row), x - 7, y)
        canvas.mark(kind[0] if kind else GOOD, x, y)
        canvas.mark(str(column), x + 7, y)
        if kind == MISSING:
            _disc(canvas, x, y, blob * 0.6, (25, 22, 20))
            continue
        if kind == SHIFTED:
            away = pad * rng.uniform(0.55, 0.75)
            angle = rng.uniform(0, 2 * np.pi)
            x, y = x + away * float(np.cos(angle)), y + away * float(np.sin(angle))
        if kind == COLD:
            _cold(canvas, rng, x, y, blob)
        else:
            _blob(canvas, x, y, blob, tin)
    for (row, column), kind in defects.items():
        if kind == BRIDGED:
            x, y = grid.centre(row, column)
            half = blob * rng.uniform(0.45, 0.7)
            canvas.draw.rectangle((x, y - half, x + grid.pitch, y + half), fill=(tin, tin, tin + 5))
            _blob(canvas, x, y, blob, tin)
            _blob(canvas, x + grid.pitch, y, blob, tin)


def _disc(canvas: Canvas, x: float, y: float, radius: float, colour: Colour) -> None:
    canvas.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _blob(canvas: Canvas, x: float, y: float, radius: float, tin: int) -> None:
    """A good joint: smooth and bright, with a highlight."""
    _disc(canvas, x, y, radius, (tin - 30, tin - 30, tin - 22))
    _disc(canvas, x, y, radius * 0.8, (tin, tin, tin + 5))
    _disc(canvas, x - radius * 0.3, y - radius * 0.3, radius * 0.3, (252, 252, 255))


def _cold(canvas: Canvas, rng: Random, x: float, y: float, radius: float) -> None:
    """A cold joint: dull, ragged and cracked."""
    grey = rng.randint(95, 125)
    corners = [radius * rng.uniform(0.75, 1.15) for _ in range(9)]
    angles = [2 * np.pi * i / 9 for i in range(9)]
    outline = [(x + r * float(np.cos(a)), y + r * float(np.sin(a))) for r, a in zip(corners, angles, strict=True)]
    canvas.draw.polygon(outline, fill=(grey, grey, grey))
    crack = (x - radius * 0.6, y + rng.uniform(-3, 3), x + radius * 0.6, y + rng.uniform(-3, 3))
    canvas.draw.line(crack, fill=(45, 45, 45), width=2)


def defects_of(picture: Picture) -> dict[tuple[int, int], str]:
    """(row, column) to kind, in reading order."""
    places = [key for key in picture.values if "," in key]
    return {(int(key.split(",")[0]), int(key.split(",")[1])): picture.values[key] for key in places}


def which(picture: Picture) -> str:
    found = [JOINT.format(row, column, kind) for (row, column), kind in defects_of(picture).items()]
    return "，".join(found) or NO_DEFECT


def ask(picture: Picture, rng: Random, absent_share: float) -> Question:
    """Which joint and what kind, half of the time; else whether, how many, one joint's state, or a printed number."""
    found, draw_ = defects_of(picture), rng.random()
    if draw_ < 0.5:
        return Question(rng.choice(WHICH), which(picture), "which")
    if draw_ < 0.65:
        return Question(rng.choice(WHETHER), YES if found else NO, "whether")
    if draw_ < 0.75:
        return Question(rng.choice(HOW_MANY), PLACES.format(len(found)) if found else NO_DEFECT, "how_many")
    if draw_ < 0.85:
        return _about_one(picture, rng, absent_share)
    return fields.question(FIELDS, picture, rng, absent_share)


def _about_one(picture: Picture, rng: Random, absent_share: float) -> Question:
    """About one joint: a defective one half of the time, and sometimes one that the board does not have."""
    rows, columns = map(int, picture.values["grid"].split("x"))
    found = defects_of(picture)
    if rng.random() < absent_share:
        if rng.random() < 0.5 or columns == 9:
            row, column = rng.randint(rows + 1, 9), rng.randint(1, columns)
        else:
            row, column = rng.randint(1, rows), rng.randint(columns + 1, 9)
        return Question(AT.format(row, column), OUTSIDE.format(row, column), "absent")
    anywhere = (rng.randint(1, rows), rng.randint(1, columns))
    row, column = rng.choice(list(found)) if found and rng.random() < 0.5 else anywhere
    return Question(AT.format(row, column), found.get((row, column), NO_DEFECT), "joint")


def showcase(picture: Picture) -> list[Question]:
    return [
        Question(WHICH[0], which(picture), "which"),
        Question(WHETHER[0], YES if defects_of(picture) else NO, "whether"),
        fields.plainly(NUMBER, picture),
    ]


TEXTS = (
    *DEFECTS, NO_DEFECT, YES, NO, PLACES, JOINT, "，", GOOD, *WHICH, *WHETHER, *HOW_MANY, AT, OUTSIDE,
    *(label for item in FIELDS for label in item.labels),
)  # fmt: skip
FAMILY = Family("board", "电路板", draw, ask, showcase, TEXTS)
