"""GLM-4V-9B as a model of transformers, under the published names of its weights, so that files load as they are.

Written anew; of the published code none is run. ``generate`` on it is the yardstick of the row engine, which takes it
apart (``adapter.py``).
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast

from deployments.model.families.glm4v9b.config import ChatGlmConfig
from deployments.model.families.glm4v9b.vision import Tower

ROTATED = 2
"""One half of every head is turned by its position."""


def frequencies(config: ChatGlmConfig, device: torch.device) -> torch.Tensor:
    """(pairs,) float32: by how much a pair of neighbouring values turns from one position to the next."""
    turned = config.kv_channels // ROTATED
    exponents = torch.arange(0, turned, 2, device=device, dtype=torch.float32) / turned
    return config.rope_theta**-exponents


class RmsNorm(nn.Module):
    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.variance_epsilon = epsilon

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return rms_norm(hidden, tuple(self.weight.shape), self.weight, self.variance_epsilon)


class SelfAttention(nn.Module):
    def __init__(self, config: ChatGlmConfig, index: int) -> None:
        super().__init__()
        self.index, self.size = index, config.kv_channels
        self.heads, self.kv_heads = config.num_attention_heads, config.multi_query_group_num
        self.query_key_value = nn.Linear(config.hidden_size, (self.heads + 2 * self.kv_heads) * self.size)
        self.dense = nn.Linear(self.heads * self.size, config.hidden_size, bias=False)

    def forward(self, hidden: torch.Tensor, turns: torch.Tensor, mask: Any, cache: Cache) -> torch.Tensor:
        qkv = self.query_key_value(hidden).unflatten(-1, (-1, self.size)).transpose(1, 2)
        queries, keys, values = torch.split(qkv, [self.heads, self.kv_heads, self.kv_heads], 1)
        keys, values = cache.update(_turned(keys, turns), values, self.index)
        seen = scaled_dot_product_attention(
            _turned(queries, turns), keys, values, attn_mask=mask, is_causal=mask is None and queries.shape[2] > 1,
            enable_gqa=True,
        )  # fmt: skip
        attended: torch.Tensor = self.dense(seen.transpose(1, 2).flatten(2))
        return attended


def _turned(heads: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """(batch, heads, tokens, size), its first half turned by (batch, 1, tokens, pairs) complex."""
    half = 2 * turns.shape[-1]
    part, rest = heads[..., :half], heads[..., half:]
    pairs = part.float().reshape(*part.shape[:-1], -1, 2)
    turned = torch.view_as_complex(pairs) * turns
    return torch.cat([torch.view_as_real(turned).flatten(-2).to(heads.dtype), rest], -1)


class Mlp(nn.Module):
    def __init__(self, config: ChatGlmConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 2 * config.ffn_hidden_size, bias=False)
        self.dense_4h_to_h = nn.Linear(config.ffn_hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        gate, up = self.dense_h_to_4h(hidden).chunk(2, -1)
        found: torch.Tensor = self.dense_4h_to_h(silu(gate) * up)
        return found


class Block(nn.Module):
    def __init__(self, config: ChatGlmConfig, index: int) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.layernorm_epsilon)
        self.self_attention = SelfAttention(config, index)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.layernorm_epsilon)
        self.mlp = Mlp(config)

    def forward(self, hidden: torch.Tensor, turns: torch.Tensor, mask: Any, cache: Cache) -> torch.Tensor:
        hidden = hidden + self.self_attention(self.input_layernorm(hidden), turns, mask, cache)
        found: torch.Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return found


class Encoder(nn.Module):
    def __init__(self, config: ChatGlmConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config, index) for index in range(config.num_layers))
        self.final_layernorm = RmsNorm(config.hidden_size, config.layernorm_epsilon)


class Embedding(nn.Module):
    def __init__(self, config: ChatGlmConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.padded_vocab_size, config.hidden_size)


class Transformer(nn.Module):
    def __init__(self, config: ChatGlmConfig) -> None:
        super().__init__()
        self.embedding = Embedding(config)
        self.encoder = Encoder(config)
        self.output_layer = nn.Linear(config.hidden_size, config.padded_vocab_size, bias=False)
        self.vision = Tower(config.eyes, config.hidden_size, config.ffn_hidden_size)


class ChatGlmWithVision(PreTrainedModel, GenerationMixin):  # type: ignore[misc]  # transformers is untyped here
    """A picture comes in as ``inputs_embeds`` and ``position_ids`` (``adapter.py`` makes them)."""

    config_class = ChatGlmConfig
    base_model_prefix = "transformer"
    _no_split_modules = ("Block", "Layer")
    _supports_sdpa = True
    _keys_to_ignore_on_load_unexpected = (r"rotary_pos_emb\.inv_freq",)  # published, and follows from the config

    def __init__(self, config: ChatGlmConfig) -> None:
        super().__init__(config)
        self.transformer = Transformer(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.transformer.embedding.word_embeddings

    def get_output_embeddings(self) -> nn.Linear:
        return self.transformer.output_layer

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        hidden = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        cache = DynamicCache(config=self.config) if past_key_values is None else past_key_values
        if position_ids is None:
            position_ids = cache.get_seq_length() + torch.arange(hidden.shape[1], device=hidden.device)[None]
        # Never by the positions: those of a picture repeat, which would be taken for several texts packed together.
        mask = create_causal_mask(self.config, hidden, attention_mask, cache)
        angles = position_ids[:, None, :, None] * frequencies(self.config, hidden.device)
        turns = torch.polar(torch.ones_like(angles), angles)
        for block in self.transformer.encoder.layers:
            hidden = block(hidden, turns, mask, cache)
        hidden = self.transformer.encoder.final_layernorm(hidden[:, -logits_to_keep:])
        return CausalLMOutputWithPast(logits=self.transformer.output_layer(hidden), past_key_values=cache)
