"""transformers' ``Glm4vTextModel``, taken apart: norms before and after, three kinds of rotary positions."""

from typing import Any

import torch

from deployments.model.families.family import KVShape
from deployments.model.families.layers import fused, gated, norm
from deployments.model.families.text import Block, TextModel, Turns


def kv_shape(config: Any) -> KVShape:
    return KVShape(
        layers=config.num_hidden_layers,
        kv_heads=config.num_key_value_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
    )


def text_model(model: Any) -> TextModel:
    """``language_model`` of a GLM, its weights shared."""
    config = model.config
    return TextModel(
        blocks=[_block(layer) for layer in model.layers],
        last_norm=norm(model.norm),
        turns=turns_of(model.rotary_emb),
        heads=config.num_attention_heads,
        kv=kv_shape(config),
    )


def _block(layer: Any) -> Block:
    attention, mlp = layer.self_attn, layer.mlp
    return Block(
        before_attention=norm(layer.input_layernorm),
        qkv=fused(attention.q_proj, attention.k_proj, attention.v_proj),
        out=fused(attention.o_proj),
        after_attention=norm(layer.post_self_attn_layernorm),
        before_mlp=norm(layer.post_attention_layernorm),
        mlp=gated(fused(mlp.gate_up_proj), fused(mlp.down_proj)),
        after_mlp=norm(layer.post_mlp_layernorm),
    )


def turns_of(module: Any) -> Turns:
    """By the frequencies of a rotary module, whose sections say which of the positions turns which pair."""
    sections = torch.tensor(module.mrope_section)
    axes = torch.arange(len(sections)).remainder(3).repeat_interleave(sections).to(module.inv_freq.device)

    def turns(positions: torch.Tensor) -> torch.Tensor:
        if module.rope_type != "default":  # frequencies that hang on the positions
            cos, sin = module(torch.empty(0, device=positions.device), positions[:, None])
            return torch.complex(cos[0, :, None, ::2].contiguous(), sin[0, :, None, ::2].contiguous())
        angles = positions[axes].T * module.inv_freq
        return torch.polar(torch.full_like(angles, module.attention_scaling), angles)[:, None]

    return turns
