"""Knobs of the preprocessor; every one can change on a running service (``user_config``)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deployments.contract import CELL

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP"]
FORMATS: tuple[Format, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class PreprocessKnobs(BaseModel):
    """Limits on pictures. Sizes are in pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    longest_edge: int = Field(1024, ge=CELL, le=8192, description="longer side after resizing")
    min_pixels: int = Field(112 * 112 // 2, ge=CELL * CELL, description="smaller pictures are enlarged to this area")
    max_pixels: int = Field(50_000_000, ge=1, description="width times height accepted, checked before decoding")
    formats: tuple[Format, ...] = Field(
        FORMATS, min_length=1, description="what is decoded, by content and not by name"
    )
