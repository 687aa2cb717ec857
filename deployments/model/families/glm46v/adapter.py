"""``Glm4vForConditionalGeneration`` and ``Glm46VForConditionalGeneration`` as a family."""

from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from deployments.contract import CELL, Pixels
from deployments.model.families.family import Attention, KVShape, Widths
from deployments.model.families.glm46v.text import kv_shape, text_model
from deployments.model.families.glm46v.vision import VisionTower
from deployments.model.pixels import PatchLayout
from deployments.model.prompt import Prompt


class Glm:
    """A loaded GLM, taken apart; its weights stay where they are."""

    def __init__(self, model: PreTrainedModel, layout: PatchLayout) -> None:
        # transformers is untyped here
        self._model: Any = model
        self._layout = layout
        self._embedding = model.get_input_embeddings()
        self._text = text_model(self._model.model.language_model)
        self._vision = VisionTower(self._model.model.visual, layout)

    @property
    def kv_shape(self) -> KVShape:
        return kv_shape(self._model.config.text_config)

    @property
    def widths(self) -> Widths:
        text = self._model.config.text_config
        return Widths(hidden=text.hidden_size, vocabulary=text.vocab_size)

    @property
    def weights(self) -> Iterator[torch.Tensor]:
        return chain(self._model.parameters(), self._model.buffers())

    def tokens(self, picture: Pixels) -> int:
        return self._layout.tokens(picture)

    def largest(self, tokens: int) -> list[Pixels]:
        return [np.zeros((CELL, CELL * tokens, 3), np.uint8)]

    def features(self, pictures: Sequence[Pixels]) -> list[torch.Tensor]:
        return self._vision.features(pictures)

    def embed(self, input_ids: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
        embeddings: torch.Tensor = self._embedding(input_ids)
        if features:
            pictured = (input_ids == self._model.config.image_token_id)[..., None]
            embeddings = embeddings.masked_scatter(pictured, torch.cat(list(features)).to(embeddings.dtype))
        return embeddings

    def positions(self, prompt: Prompt, pictures: Sequence[Pixels]) -> tuple[torch.Tensor, int]:
        """As ``get_rope_index``: a picture's tokens stand at its rows and columns, and take as many as the longer side.

        Not the model's own rope_deltas: they are one state for all requests, overwritten by each.
        """
        cell, sizes = self._layout.cell, iter(pictures)
        parts: list[np.ndarray] = []
        begin = 0
        for is_picture, run in groupby(prompt.mm_token_type_ids[0].tolist()):
            count = len(list(run))
            if is_picture:
                height, width = (side // cell for side in next(sizes).shape[:2])
                if height * width != count:
                    raise ValueError(f"a picture of {height * width} visual tokens must match its prompt's {count}")
                rows, columns = np.divmod(np.arange(height * width), width)
                parts.append(begin + np.stack([np.zeros_like(rows), rows, columns]))
                begin += max(height, width)
            else:
                parts.append(np.broadcast_to(begin + np.arange(count), (3, count)))
                begin += count
        return torch.from_numpy(np.concatenate(parts, 1)), begin - prompt.tokens

    def hidden(self, embeddings: torch.Tensor, positions: torch.Tensor, attention: Attention) -> torch.Tensor:
        return self._text.hidden(embeddings, positions, attention)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self._model.lm_head(hidden).float()
        return scores
