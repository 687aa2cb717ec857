"""``transformers serve`` as it comes: continuous batching is off by default, so requests run one after the other.

For this model's family it needs torchvision, whose wheels on PyPI are built for torch with CUDA. Beside a CPU build of
torch their compiled parts do not load: the two operators that the import misses (the model uses neither) are then
declared without code, and Pillow decodes files in place of torchvision. All the rest is as it comes.
"""

from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

MISSED = ("nms", "qnms")


def decode_image(data: torch.Tensor, mode: Any = None, apply_exif_orientation: bool = False) -> torch.Tensor:
    """uint8 RGB (3, height, width) of a file's bytes, upright, as ``torchvision.io.decode_image`` gives it."""
    image = ImageOps.exif_transpose(Image.open(BytesIO(data.numpy().tobytes()))).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def without_compiled_parts() -> torch.library.Library:
    """Make torchvision's Python parts work; its operators stay declared as long as the returned object is there."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in MISSED:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    import torchvision.io  # type: ignore[import-not-found]  # it lives in an environment of its own

    torchvision.io.decode_image = decode_image
    return library


if __name__ == "__main__":
    library = without_compiled_parts() if torch.version.cuda is None else None
    from transformers.cli.transformers import main

    main()
