"""From a picture of the one size that GLM-4V-9B sees to what its tower takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deployments.contract import Pixels, View
from deployments.model.families.glm4v9b.config import Eyes

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's, which the published tokenizer's code normalises by; no file of the checkpoint names them."""


@dataclass(frozen=True, slots=True)
class SquareLayout:
    """Pictures of ``side`` x ``side`` pixels, which take ``count`` tokens each."""

    side: int
    count: int
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    @classmethod
    def of(cls, eyes: Eyes) -> "SquareLayout":
        return cls(eyes.image_size, eyes.tokens)

    @property
    def view(self) -> View:
        return View(self.side, self.count, tiles=False)

    def tokens(self, picture: Pixels) -> int:
        """Raises ValueError for a picture that was prepared for another model."""
        if picture.dtype != np.uint8 or picture.shape != (self.side, self.side, 3):
            raise ValueError(
                f"a picture must be uint8 of shape ({self.side}, {self.side}, 3), not {picture.dtype} {picture.shape}: "
                "it was prepared for another model"
            )
        return self.count

    def normalised(self, pictures: Sequence[Pixels], device: torch.device) -> torch.Tensor:
        """float32 (pictures, 3, side, side). Raises ValueError as ``tokens``."""
        for picture in pictures:
            self.tokens(picture)
        values = torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2).float()
        mean, std = (torch.tensor(value, device=device)[:, None, None] for value in (self.mean, self.std))
        return values.div_(255).sub_(mean).div_(std)
