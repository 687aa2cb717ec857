"""The preprocessor's work as one function: bytes in, tiles for the model out."""

from dataclasses import astuple, dataclass, replace
from hashlib import sha256

from PIL import Image

from deployments.contract import ANY_SIZE, Box, Level, Pixels, Place, View
from deployments.preprocess.decode import Decoded, decode
from deployments.preprocess.detail import spare_factor
from deployments.preprocess.settings import Format, PreprocessKnobs
from deployments.preprocess.tiling import Part, TileBudget, cut, plan

VERSION = 3
"""Of what is done to a picture before the model sees it: with any change here, answers of before no longer count."""

STRIP = 64
"""Rows that are hashed at a time."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """The whole picture and, if it is large, its tiles in reading order; and what the file was.

    ``boxes`` are their left, top, right and bottom in pixels of the upright picture of ``size`` (width, height).
    ``picture`` is a digest of every pixel, and of how the picture is shown at level ``full``; ``full_boxes`` are the
    boxes there, empty if they are these.
    """

    pixels: tuple[Pixels, ...]
    places: tuple[Place, ...]
    boxes: tuple[Box, ...]
    picture: str
    size: tuple[int, int]
    source_format: Format
    source_size: tuple[int, int]
    full_boxes: tuple[Box, ...] = ()

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each tile."""
        return tuple((tile.shape[0], tile.shape[1]) for tile in self.pixels)


def prepare(
    data: bytes,
    knobs: PreprocessKnobs,
    level: Level = Level.FULL,
    most_tokens: int | None = None,
    view: View = ANY_SIZE,
) -> Tiles:
    """Decode, check, turn upright, cut and resize as the model wants to ``view`` it.

    Into no more than ``most_tokens`` if tiles can be left out.

    Raises what ``decode`` raises.
    """
    budget = knobs.budget.viewed(
        view
    )  # of level `full`, for what must not hang on the request: how finely the file is decoded

    def scale_of(width: int, height: int) -> float:
        return max(part.scale for part in plan(width, height, budget))

    decoded = decode(data, knobs.formats, knobs.max_pixels, scale_of)
    spare, whole = spare_factor(decoded.image, budget.longest_edge // 2), budget.within(most_tokens)
    parts, full = (shown(decoded, spare, present) for present in (whole.at(level), whole))
    return Tiles(
        pixels=cut(decoded.image, parts, _factor(decoded.image.size, decoded.size)),
        places=tuple(part.place for part in parts),
        boxes=tuple(part.box for part in parts),
        picture=digest(decoded.image, decoded.size, budget),
        size=decoded.size,
        source_format=decoded.source_format,
        source_size=decoded.source_size,
        full_boxes=() if parts == full else tuple(part.box for part in full),
    )


def shown(decoded: Decoded, spare: int, budget: TileBudget) -> tuple[Part, ...]:
    """The parts of the picture that the model sees; of one ``spare`` times too large, those of a smaller one."""
    if spare == 1:
        return plan(*decoded.size, budget)
    width, height = (max(1, side // spare) for side in decoded.image.size)
    across, down = decoded.size[0] / width, decoded.size[1] / height
    return tuple(replace(part, box=_scaled(part.box, across, down)) for part in plan(width, height, budget))


def _scaled(box: Box, across: float, down: float) -> Box:
    left, top, right, bottom = box
    return round(left * across), round(top * down), round(right * across), round(bottom * down)


def digest(image: Image.Image, size: tuple[int, int], budget: TileBudget) -> str:
    """What tells one picture from another: its mode, size and every pixel, and how it would be shown."""
    hashed = sha256(f"{VERSION} {image.mode} {image.size} {size} {astuple(budget)} ".encode())
    for top in range(0, image.height, STRIP):  # in strips: the bytes of a whole picture would be one more copy of it
        hashed.update(image.crop((0, top, image.width, min(top + STRIP, image.height))).tobytes())
    return hashed.hexdigest()


def _factor(decoded: tuple[int, int], size: tuple[int, int]) -> float:
    """1, 1/2, 1/4 or 1/8: the decoder rounds sides up, so that their ratio is only near it."""
    return 1 / max(1, round(max(size) / max(decoded)))
