"""What differs between model families: how a picture becomes embeddings, and which positions tokens stand at.

The GLM-4.1V and GLM-4.6V classes of transformers (``glm4v``, ``glm46v``) share one adapter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import Cache, PreTrainedModel

from deployments.contract import Pixels
from deployments.model.pixels import PatchLayout, patchify
from deployments.model.prompt import Prompt


@dataclass(frozen=True, slots=True)
class KVShape:
    """What one token of one row costs: keys and values of ``head_dim`` for ``kv_heads`` heads in ``layers``."""

    layers: int
    kv_heads: int
    head_dim: int

    def bytes_per_token(self, dtype: torch.dtype) -> int:
        return 2 * self.layers * self.kv_heads * self.head_dim * dtype.itemsize


@dataclass(frozen=True, slots=True)
class Widths:
    """The sizes of a model that its working memory depends on."""

    hidden: int
    intermediate: int
    vocabulary: int
    vision_hidden: int
    vision_intermediate: int
    largest_weight: int
    """Values of the largest quantized matrix, which is dequantized whole where no fused kernel runs."""


class Family(Protocol):
    """A model taken apart into the steps that the row engine runs."""

    @property
    def kv_shape(self) -> KVShape: ...

    @property
    def widths(self) -> Widths: ...

    def features(self, pictures: Sequence[Pixels]) -> list[torch.Tensor]:
        """(visual tokens, hidden size) of each picture, computed together."""
        ...

    def embed(self, input_ids: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """(1, tokens, hidden size): token embeddings of (1, tokens) ids, the pictures' features in their places."""
        ...

    def positions(self, prompt: Prompt, pictures: Sequence[Pixels]) -> tuple[torch.Tensor, int]:
        """(3, tokens) rotary positions on the CPU, and what to add to a later token's index to get its own."""
        ...

    def hidden(
        self, embeddings: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, cache: Cache
    ) -> torch.Tensor:
        """(rows, tokens, hidden size) of the last layer; ``positions`` is (3, rows, tokens)."""
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 (…, vocabulary)."""
        ...


class Glm:
    """``Glm4vForConditionalGeneration`` and ``Glm46VForConditionalGeneration``."""

    def __init__(self, model: PreTrainedModel, layout: PatchLayout) -> None:
        # transformers is untyped here
        self._model: Any = model
        self._layout = layout
        self._embedding = model.get_input_embeddings()

    @property
    def kv_shape(self) -> KVShape:
        text = self._model.config.text_config
        return KVShape(
            layers=text.num_hidden_layers,
            kv_heads=text.num_key_value_heads,
            head_dim=text.hidden_size // text.num_attention_heads,
        )

    @property
    def widths(self) -> Widths:
        text, vision = self._model.config.text_config, self._model.config.vision_config
        return Widths(
            hidden=text.hidden_size,
            intermediate=text.intermediate_size,
            vocabulary=text.vocab_size,
            vision_hidden=vision.hidden_size,
            vision_intermediate=vision.out_hidden_size,  # transformers builds the blocks' MLP with this one
            largest_weight=2 * text.intermediate_size * text.hidden_size,
        )

    def features(self, pictures: Sequence[Pixels]) -> list[torch.Tensor]:
        values, grid = patchify(pictures, self._layout, self._model.device)
        return list(self._model.model.get_image_features(values, grid).pooler_output)

    def embed(self, input_ids: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
        embeddings: torch.Tensor = self._embedding(input_ids)
        if features:
            pictured = (input_ids == self._model.config.image_token_id)[..., None]
            embeddings = embeddings.masked_scatter(pictured, torch.cat(list(features)).to(embeddings.dtype))
        return embeddings

    def positions(self, prompt: Prompt, pictures: Sequence[Pixels]) -> tuple[torch.Tensor, int]:
        patch = self._layout.patch_size
        grid = torch.tensor([[1, p.shape[0] // patch, p.shape[1] // patch] for p in pictures]) if pictures else None
        # Not the model's own rope_deltas: they are one state for all requests, overwritten by each.
        positions, delta = self._model.model.get_rope_index(
            prompt.input_ids, prompt.mm_token_type_ids, image_grid_thw=grid
        )
        return positions[:, 0], int(delta)

    def hidden(
        self, embeddings: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, cache: Cache
    ) -> torch.Tensor:
        output: torch.Tensor = self._model.model.language_model(
            inputs_embeds=embeddings, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
        ).last_hidden_state
        return output

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self._model.lm_head(hidden).float()
        return scores
