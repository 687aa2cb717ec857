"""``ChatGlmWithVision`` as a family, and what of a picture's embeddings and positions its ``generate`` takes."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from deployments.contract import Pixels
from deployments.model.families.family import Attention, KVShape, Widths
from deployments.model.families.glm4v9b.config import ChatGlmConfig
from deployments.model.families.glm4v9b.modeling import ChatGlmWithVision, frequencies
from deployments.model.families.glm4v9b.pixels import SquareLayout
from deployments.model.families.layers import fused, gated, norm
from deployments.model.families.text import Block, TextModel, Turns
from deployments.model.prompt import Prompt


class Glm4V9B:
    """A loaded GLM-4V-9B, taken apart; its weights stay where they are."""

    def __init__(self, model: ChatGlmWithVision, layout: SquareLayout) -> None:
        self._model, self._layout = model, layout
        self._ends = model.config.boi_token_id, model.config.eoi_token_id  # what a picture stands between
        self._tower, self._text = model.transformer.vision, text_model(model)

    @property
    def kv_shape(self) -> KVShape:
        return self._text.kv

    @property
    def widths(self) -> Widths:
        config: ChatGlmConfig = self._model.config
        return Widths(hidden=config.hidden_size, vocabulary=config.padded_vocab_size)

    @property
    def weights(self) -> Iterator[torch.Tensor]:
        return chain(self._model.parameters(), self._model.buffers())

    def tokens(self, picture: Pixels) -> int:
        return self._layout.tokens(picture)

    def largest(self, tokens: int) -> list[Pixels]:
        side = self._layout.side
        return [np.zeros((side, side, 3), np.uint8)] * max(1, tokens // self._layout.count)

    def features(self, pictures: Sequence[Pixels]) -> list[torch.Tensor]:
        weight = self._tower.patch_embedding.proj.weight
        seen = self._tower(self._layout.normalised(pictures, weight.device).to(weight.dtype))
        return [one.clone() for one in seen] if len(seen) > 1 else [seen[0]]

    def embed(self, input_ids: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
        embeddings: torch.Tensor = self._model.get_input_embeddings()(input_ids)
        if features:
            begin, end = ((input_ids == token).long() for token in self._ends)
            pictured = (begin.cumsum(0) > 0) & (end.cumsum(0) - end == 0)  # up to the first end, that included
            embeddings = embeddings.masked_scatter(pictured[:, None], torch.cat(list(features)).to(embeddings.dtype))
        return embeddings

    def positions(self, prompt: Prompt, pictures: Sequence[Pixels]) -> tuple[torch.Tensor, int]:
        """As the published code has them: all patches of a picture stand at one, between those of its two ends."""
        expected = sum(self._layout.tokens(picture) for picture in pictures)
        if expected != prompt.image_tokens:
            raise ValueError(f"pictures of {expected} visual tokens must match their prompt's {prompt.image_tokens}")
        found = positions_of(prompt)
        return found.expand(3, -1), int(found[-1]) + 1 - prompt.tokens

    def hidden(self, embeddings: torch.Tensor, positions: torch.Tensor, attention: Attention) -> torch.Tensor:
        return self._text.hidden(embeddings, positions, attention)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self._model.get_output_embeddings()(hidden).float()
        return scores


def positions_of(prompt: Prompt) -> torch.Tensor:
    """(tokens,): one on from token to token, but not between two patches of a picture."""
    pictured = prompt.mm_token_type_ids[0]
    steps = torch.ones_like(pictured)
    if len(shown := pictured.nonzero()):
        steps[int(shown[0]) + 2 : int(shown[-1])] = 0
    return steps.cumsum(0) - 1


def text_model(model: ChatGlmWithVision) -> TextModel:
    config, encoder = model.config, model.transformer.encoder
    return TextModel(
        blocks=[_block(layer) for layer in encoder.layers],
        last_norm=norm(encoder.final_layernorm),
        turns=_turns(frequencies(config, encoder.final_layernorm.weight.device)),
        heads=config.num_attention_heads,
        kv=KVShape(config.num_layers, config.multi_query_group_num, config.kv_channels),
    )


def _block(layer: Any) -> Block:
    attention, mlp = layer.self_attention, layer.mlp
    return Block(
        before_attention=norm(layer.input_layernorm),
        qkv=fused(attention.query_key_value),
        out=fused(attention.dense),
        before_mlp=norm(layer.post_attention_layernorm),
        mlp=gated(fused(mlp.dense_h_to_4h), fused(mlp.dense_4h_to_h)),
    )


def _turns(frequencies: torch.Tensor) -> Turns:
    """By one kind of positions: the three are alike."""

    def turns(positions: torch.Tensor) -> torch.Tensor:
        angles = positions[0, :, None] * frequencies
        return torch.polar(torch.ones_like(angles), angles)[:, None]

    return turns
