"""Which parts of a large picture the model sees, as a pure function of width, height and budget.

A picture much larger than the model's useful size is shown as an overview and a grid of overlapping tiles in reading
order, so that small text stays legible. A picture at or below the threshold is its own overview.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from deployments.contract import CELL, OVERVIEW, Box, Level, Pixels, Place, View
from deployments.preprocess.resize import resized, target_size


@dataclass(frozen=True, slots=True)
class TileBudget:
    """How much of a picture may be shown; edges in pixels.

    ``longest_edge`` bounds the overview, ``tile_edge`` each tile. Tiles are cut only above ``tiles_above_edge`` and are
    ``max_tiles`` at most (under 2: never). Neighbours share ``overlap`` of a tile's side, so that no line of text is
    lost between them. A picture gets fewer tiles where they would take more than ``max_tokens`` visual tokens. With
    ``side`` all parts are shown at as many pixels each way, whatever their shape.
    """

    longest_edge: int
    tile_edge: int
    max_tiles: int
    tiles_above_edge: int
    min_pixels: int
    max_tokens: int = 1 << 30
    overlap: float = 0.12
    side: int | None = None

    def at(self, level: Level) -> "TileBudget":
        """The budget under load: half of the tiles below ``full``, none while holding."""
        return replace(self, max_tiles={Level.FULL: self.max_tiles, Level.FAST: self.max_tiles // 2}.get(level, 0))

    def viewed(self, view: View) -> "TileBudget":
        """The budget of a model with such a view."""
        return replace(self, side=view.side, max_tiles=self.max_tiles if view.tiles else 0)

    def size_of(self, width: int, height: int, longest_edge: int) -> tuple[int, int]:
        """The (width, height) that a part of such a size is shown at."""
        if self.side is not None:
            return self.side, self.side
        return target_size(width, height, longest_edge, self.min_pixels)

    def within(self, most_tokens: int | None) -> "TileBudget":
        """The budget of a picture that may not take more than so many tokens of its prompt; None: as it is."""
        return self if most_tokens is None else replace(self, max_tokens=min(self.max_tokens, most_tokens))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the source, the (width, height) it is shown at, and where it belongs."""

    place: Place
    box: Box
    size: tuple[int, int]

    @property
    def tokens(self) -> int:
        """Visual tokens that it takes of the prompt."""
        return self.size[0] // CELL * (self.size[1] // CELL)

    @property
    def scale(self) -> float:
        """Of what the model sees to the source; above 1 for a picture that is enlarged."""
        left, top, right, bottom = self.box
        return max(self.size[0] / (right - left), self.size[1] / (bottom - top))


def plan(width: int, height: int, budget: TileBudget) -> tuple[Part, ...]:
    """The overview, then the tiles in reading order, of a picture of ``width`` x ``height``.

    What it costs in tokens is known from this, before any pixel is decoded.
    """
    whole = (0, 0, width, height)
    overview = Part(OVERVIEW, whole, budget.size_of(width, height, budget.longest_edge))
    if max(width, height) <= budget.tiles_above_edge or budget.max_tiles < 2:
        return (overview,)
    rows, columns = _grid(width, height, budget)
    boxes = {
        (row, column): (left, top, right, bottom)
        for row, (top, bottom) in enumerate(_spans(height, rows, budget.overlap), start=1)
        for column, (left, right) in enumerate(_spans(width, columns, budget.overlap), start=1)
    }
    parts = (overview, *(_tile(place, box, budget) for place, box in boxes.items()))
    if sum(part.tokens for part in parts) > budget.max_tokens:
        return plan(width, height, replace(budget, max_tiles=rows * columns - 1))
    return parts


def _tile(place: Place, box: Box, budget: TileBudget) -> Part:
    left, top, right, bottom = box
    return Part(place, box, budget.size_of(right - left, bottom - top, budget.tile_edge))


def cut(image: Image.Image, parts: Sequence[Part], factor: float = 1.0) -> tuple[Pixels, ...]:
    """The parts of an RGB picture, each as uint8 (height, width, 3).

    ``factor`` is the scale of ``image`` to the source that the parts' boxes speak of.
    """
    whole = (0.0, 0.0, float(image.width), float(image.height))
    return tuple(resized(image, part.size, _scaled(part.box, factor, whole)) for part in parts)


def _scaled(box: Box, factor: float, whole: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The box in a picture ``factor`` as large, within its bounds (decoders round the last column and row up)."""
    left, top, right, bottom = box
    return left * factor, top * factor, min(right * factor, whole[2]), min(bottom * factor, whole[3])


def _grid(width: int, height: int, budget: TileBudget) -> tuple[int, int]:
    """Rows and columns that show most detail; of those that show the same, the fewest tiles.

    Detail is the scale at which a tile is shown, never above the source's own.
    """

    def detail(rows: int, columns: int) -> float:
        largest = max(_side(width, columns, budget.overlap), _side(height, rows, budget.overlap))
        return min(1.0, budget.tile_edge / largest)

    most = budget.max_tiles
    grids = [(rows, columns) for rows in range(1, most + 1) for columns in range(1, most // rows + 1)]
    return max(grids[1:], key=lambda grid: (round(detail(*grid), 6), -grid[0] * grid[1]))


def _side(length: int, count: int, overlap: float) -> float:
    """Length of each of ``count`` equal spans that cover ``length`` and overlap by a share of themselves."""
    return length / (count - (count - 1) * overlap)


def _spans(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
    side = _side(length, count, overlap)
    starts = [(length - side) * i / max(1, count - 1) for i in range(count)]
    return [(round(start), min(length, round(start + side))) for start in starts]
