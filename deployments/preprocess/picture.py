"""The preprocessor's work as one function: bytes in, tiles for the model out."""

from dataclasses import dataclass

from deployments.contract import Pixels, Place
from deployments.preprocess.decode import decode
from deployments.preprocess.settings import Format, PreprocessKnobs
from deployments.preprocess.tiling import cut, plan


@dataclass(frozen=True, slots=True)
class Tiles:
    """The whole picture and, if it is large, its tiles in reading order; and what the file was."""

    pixels: tuple[Pixels, ...]
    places: tuple[Place, ...]
    source_format: Format
    source_size: tuple[int, int]

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each tile."""
        return tuple((tile.shape[0], tile.shape[1]) for tile in self.pixels)


def prepare(data: bytes, knobs: PreprocessKnobs) -> Tiles:
    """Decode, check, turn upright, cut and resize. Raises what ``decode`` raises."""
    image, source_format, source_size = decode(data, knobs.formats, knobs.max_pixels)
    parts = plan(image.width, image.height, knobs.budget)
    return Tiles(cut(image, parts), tuple(part.place for part in parts), source_format, source_size)
