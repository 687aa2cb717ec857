"""From resized uint8 pixels to the patches that the GLM vision tower takes, on the model's own device.

Equal to transformers' ``Glm46VImageProcessorPil`` (rescale, normalise, patchify) for pictures whose
sides are already multiples of ``patch_size * merge_size``; the preprocessor makes them so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deployments.contract import ANY_SIZE, Pixels, View


@dataclass(frozen=True, slots=True)
class PatchLayout:
    """How a checkpoint's image processor normalises and cuts a picture (``preprocessor_config.json``)."""

    patch_size: int
    temporal_patch_size: int
    merge_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rescale_factor: float = 1 / 255

    @property
    def cell(self) -> int:
        """Side in pixels of the square that one visual token sees."""
        return self.patch_size * self.merge_size

    @property
    def view(self) -> View:
        return ANY_SIZE

    def tokens(self, picture: Pixels) -> int:
        """What a picture takes of its prompt; its sides are multiples of ``cell``."""
        return token_count(picture.shape[0], picture.shape[1], self)


def token_count(height: int, width: int, layout: PatchLayout) -> int:
    """Visual tokens of a picture whose sides are multiples of ``layout.cell``."""
    return (height // layout.cell) * (width // layout.cell)


def patchify(
    pictures: Sequence[Pixels], layout: PatchLayout, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalise and cut pictures into patches.

    Args:
        pictures: uint8 arrays of shape (height, width, 3), RGB; sides multiples of ``layout.cell``.

    Returns:
        ``pixel_values``, float32 of shape (patches of all pictures, 3 * temporal * patch * patch), and
        ``image_grid_thw``, int64 of shape (pictures, 3): (1, height, width) of each picture in patches.

    Raises:
        ValueError: a picture's shape, type or sides do not fit.
    """
    frames = [_framed(patches(picture, layout, device), layout) for picture in pictures]
    grid = [[1, p.shape[0] // layout.patch_size, p.shape[1] // layout.patch_size] for p in pictures]
    return torch.cat(frames), torch.tensor(grid, dtype=torch.int64, device=device)


def patches(picture: Pixels, layout: PatchLayout, device: torch.device | str) -> torch.Tensor:
    """One frame of each patch of a picture, normalised: float32 (patches, 3 * patch * patch), block after block.

    Raises ValueError as ``patchify``.
    """
    height, width = _checked_size(picture, layout)
    # torch refuses to share a read-only buffer quietly, and object-store arrays are read-only: copy, it is uint8.
    pixels = torch.from_numpy(np.array(picture, copy=True)).to(device)
    patch, merge = layout.patch_size, layout.merge_size
    rows, columns = height // layout.cell, width // layout.cell
    blocks = pixels.view(rows, merge, patch, columns, merge, patch, 3).permute(0, 3, 1, 4, 6, 2, 5)
    values = blocks.reshape(rows * columns * merge * merge, 3, -1).float()
    mean, std = (torch.tensor(value, device=device)[:, None] for value in (layout.mean, layout.std))
    return values.mul_(layout.rescale_factor).sub_(mean).div_(std).flatten(1)


def _framed(values: torch.Tensor, layout: PatchLayout) -> torch.Tensor:
    """A still picture fills every frame of a temporal patch with itself."""
    frames = values.view(len(values), 3, 1, -1).expand(-1, -1, layout.temporal_patch_size, -1)
    return frames.flatten(1)


def _checked_size(picture: Pixels, layout: PatchLayout) -> tuple[int, int]:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture must be uint8 of shape (height, width, 3), not {picture.dtype} {picture.shape}")
    height, width = picture.shape[:2]
    if height % layout.cell or width % layout.cell or not height or not width:
        raise ValueError(f"picture sides must be multiples of {layout.cell}, not {width}x{height}: resize first")
    return height, width
