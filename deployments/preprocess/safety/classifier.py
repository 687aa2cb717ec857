"""Any transformers image classification checkpoint as a safety check, from a folder: for instance a ViT."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from deployments.preprocess.safety.check import Subject
from deployments.preprocess.safety.loading import check_scores, check_weights, loading


class Classifier:
    """Its labels are the checkpoint's own (``id2label``), its scores their softmax. On the CPU, in float32."""

    name = "classifier"

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    @classmethod
    def load(cls, folder: str) -> "Classifier":
        """Raises CheckpointError when the folder holds no such checkpoint."""
        with loading(folder, "image classification"):
            model, told = AutoModelForImageClassification.from_pretrained(
                folder,
                local_files_only=Path(folder).exists(),
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told
            )
            check_weights(model, told)
            check = cls(model.eval(), AutoImageProcessor.from_pretrained(folder, backend="pil"))
            check_scores(check)
        return check

    @torch.inference_mode()
    def scores(self, subject: Subject) -> Mapping[str, float]:
        inputs = self._processor(images=Image.fromarray(subject.pixels), return_tensors="pt")
        shares = self._model(**inputs).logits[0].softmax(-1).tolist()
        return {self._model.config.id2label[index]: share for index, share in enumerate(shares)}
