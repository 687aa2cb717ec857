"""The preprocessor's work as one function: bytes in, tiles for the model out."""

from dataclasses import dataclass

from deployments.contract import Pixels
from deployments.preprocess.decode import decode
from deployments.preprocess.resize import resized, target_size
from deployments.preprocess.settings import Format, PreprocessKnobs


@dataclass(frozen=True, slots=True)
class Tiles:
    """A picture's tiles in reading order (for now: the whole picture, one tile), and what the file was."""

    pixels: tuple[Pixels, ...]
    source_format: Format
    source_size: tuple[int, int]

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each tile."""
        return tuple((tile.shape[0], tile.shape[1]) for tile in self.pixels)


def prepare(data: bytes, knobs: PreprocessKnobs) -> Tiles:
    """Decode, check, turn upright and resize. Raises what ``decode`` raises."""
    image, source_format, source_size = decode(data, knobs.formats, knobs.max_pixels)
    size = target_size(image.width, image.height, knobs.longest_edge, knobs.min_pixels)
    return Tiles((resized(image, size),), source_format, source_size)
