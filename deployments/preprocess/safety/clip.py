"""CLIP as a safety check without training: which of the configured phrases fits the picture best."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from deployments.preprocess.safety.check import Subject
from deployments.preprocess.safety.loading import check_scores, check_weights, loading
from deployments.preprocess.safety.settings import ClipSettings


class Clip:
    """Scores are shares of a softmax over every phrase, those of ``otherwise`` included. On the CPU, in float32."""

    name = "clip"

    def __init__(self, model: Any, processor: Any, tokenizer: Any, settings: ClipSettings) -> None:
        self._model, self._processor, self._labels = model, processor, tuple(settings.phrases)
        phrases = [*settings.phrases.values(), *settings.otherwise]
        with torch.inference_mode():  # the phrases never change
            self._phrases = _unit(model.get_text_features(**tokenizer(phrases, padding=True, return_tensors="pt")))

    @classmethod
    def load(cls, settings: ClipSettings) -> "Clip":
        """Raises CheckpointError when the folder holds no CLIP checkpoint."""
        folder = settings.folder
        with loading(folder, "CLIP"):
            model, told = CLIPModel.from_pretrained(
                folder,
                local_files_only=Path(folder).exists(),
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told
            )
            check_weights(model, told)
            processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
            tokenizer = AutoTokenizer.from_pretrained(folder)
            check = cls(model.eval(), processor, tokenizer, settings)
            check_scores(check)
        return check

    @torch.inference_mode()
    def scores(self, subject: Subject) -> Mapping[str, float]:
        inputs = self._processor(images=Image.fromarray(subject.pixels), return_tensors="pt")
        picture = _unit(self._model.get_image_features(pixel_values=inputs["pixel_values"]))
        shares = (self._model.logit_scale.exp() * picture @ self._phrases.T)[0].softmax(-1).tolist()
        return dict(zip(self._labels, shares, strict=False))  # without those of `otherwise`


def _unit(features: Any) -> torch.Tensor:
    """The pooled features, which some versions wrap, at length 1."""
    vectors: torch.Tensor = getattr(features, "pooler_output", features)
    return torch.nn.functional.normalize(vectors, dim=-1)
