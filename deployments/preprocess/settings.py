"""What the preprocessor is made of (a change rolls the replicas) and its limits (a change is live)."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployments.contract import CELL
from deployments.preprocess.safety.settings import SafetyKnobs, SafetySettings
from deployments.preprocess.tiling import TileBudget

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP"]
FORMATS: tuple[Format, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class PreprocessSettings(BaseModel):
    """Structure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decode_processes: int = Field(1, ge=1, le=64, description="processes of a replica that decode: one a core it has")
    safety: SafetySettings = SafetySettings()


class PreprocessKnobs(BaseModel):
    """Limits on pictures. Sizes are in pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    longest_edge: int = Field(1024, ge=CELL, le=8192, description="longer side of the whole picture after resizing")
    tile_edge: int = Field(1024, ge=CELL, le=8192, description="longer side of a tile after resizing")
    max_tiles: int = Field(4, ge=0, le=64, description="tiles of a large picture besides its overview; under 2: none")
    tiles_above_edge: int = Field(
        2000, ge=CELL, le=1_000_000, description="pictures with a longer side above this are tiled"
    )
    max_image_tokens: int = Field(1_650, ge=16, description="visual tokens of a picture: fewer tiles rather than more")
    min_pixels: int = Field(112 * 112 // 2, ge=CELL * CELL, description="smaller pictures are enlarged to this area")
    max_pixels: int = Field(
        50_000_000, ge=1, le=4_000_000_000, description="width times height accepted, checked before decoding"
    )
    formats: tuple[Format, ...] = Field(
        FORMATS, min_length=1, description="what is decoded, by content and not by name"
    )
    decode_memory_mb: int = Field(1024, ge=64, description="memory that one file may take to decode")
    decode_timeout_s: float = Field(10.0, gt=0, description="a file that takes longer to decode is refused")
    waiting_mb: int = Field(512, ge=1, description="files that wait to be decoded: beyond it more are refused for now")
    safety: SafetyKnobs = SafetyKnobs()

    @model_validator(mode="after")
    def _smallest_within_largest(self) -> Self:
        if self.min_pixels > self.longest_edge**2:
            raise ValueError(
                f"min_pixels: {self.min_pixels} is more than a picture of longest_edge: {self.longest_edge} can have"
            )
        return self

    @property
    def overview_tokens(self) -> int:
        """Visual tokens of a whole picture at most, which a square one takes."""
        return max(self.longest_edge // CELL, math.ceil(math.sqrt(self.min_pixels) / CELL)) ** 2

    @property
    def most_parts(self) -> int:
        """Of a picture: its overview, and tiles if there may be two."""
        return 1 + (self.max_tiles if self.max_tiles > 1 else 0)

    @property
    def budget(self) -> TileBudget:
        """What of a picture the model may see."""
        return TileBudget(
            longest_edge=self.longest_edge,
            tile_edge=self.tile_edge,
            max_tiles=self.max_tiles,
            tiles_above_edge=self.tiles_above_edge,
            min_pixels=self.min_pixels,
            max_tokens=self.max_image_tokens,
        )
