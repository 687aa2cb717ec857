"""The text model over a flat list of tokens, whichever rows they are of: prefill and decode alike.

Equal to transformers' ``Glm4vTextModel`` but for the order of roundings: projections that read the same input are one
product, queries and keys are turned in place, and what they look at is the caller's business.
"""

from dataclasses import dataclass
from typing import Any

import torch

from deployments.model.families.family import Attention
from deployments.model.families.layers import Layer, fused, gated, norm


@dataclass(frozen=True, slots=True)
class _Block:
    before_attention: Layer
    qkv: Layer
    out: Layer
    after_attention: Layer
    before_mlp: Layer
    mlp: Layer
    after_mlp: Layer


class TextModel:
    """``language_model`` of a GLM, its weights shared."""

    def __init__(self, model: Any) -> None:
        config = model.config
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._head_dim = config.hidden_size // config.num_attention_heads
        self._rotary, self._blocks = Rotary(model.rotary_emb), [_block(layer) for layer in model.layers]
        self._norm = norm(model.norm)

    def hidden(self, embeddings: torch.Tensor, positions: torch.Tensor, attention: Attention) -> torch.Tensor:
        """(tokens, hidden size) of the last layer, of such embeddings at (3, tokens) rotary positions."""
        turns, hidden = self._rotary.turns(positions), embeddings
        for index, block in enumerate(self._blocks):
            qkv = block.qkv(block.before_attention(hidden)).view(len(hidden), -1, self._head_dim)
            self._rotary.turn(qkv[:, : self._heads + self._kv_heads], turns)
            seen = attention(index, qkv[:, : self._heads], qkv[:, self._heads :])
            hidden = hidden + block.after_attention(block.out(seen.reshape(len(hidden), -1)))
            hidden = hidden + block.after_mlp(block.mlp(block.before_mlp(hidden)))
        return self._norm(hidden)


def _block(layer: Any) -> _Block:
    attention, mlp = layer.self_attn, layer.mlp
    return _Block(
        before_attention=norm(layer.input_layernorm),
        qkv=fused(attention.q_proj, attention.k_proj, attention.v_proj),
        out=fused(attention.o_proj),
        after_attention=norm(layer.post_self_attn_layernorm),
        before_mlp=norm(layer.post_attention_layernorm),
        mlp=gated(fused(mlp.gate_up_proj), fused(mlp.down_proj)),
        after_mlp=norm(layer.post_mlp_layernorm),
    )


class Rotary:
    """Turns pairs of neighbouring values, of the first part of every head, by three kinds of positions."""

    def __init__(self, module: Any) -> None:
        self._module = module
        sections = torch.tensor(module.mrope_section)
        axes = torch.arange(len(sections)).remainder(3).repeat_interleave(sections)
        self._axes = axes.to(module.inv_freq.device)
        """Which of the three positions each pair of values is turned by."""

    def turns(self, positions: torch.Tensor) -> torch.Tensor:
        """(tokens, 1, pairs) complex: what to multiply pairs at (3, tokens) positions with."""
        module = self._module
        if module.rope_type != "default":  # frequencies that hang on the positions
            cos, sin = module(torch.empty(0, device=positions.device), positions[:, None])
            return torch.complex(cos[0, :, None, ::2].contiguous(), sin[0, :, None, ::2].contiguous())
        angles = positions[self._axes].T * module.inv_freq
        return torch.polar(torch.full_like(angles, module.attention_scaling), angles)[:, None]

    def turn(self, heads: torch.Tensor, turns: torch.Tensor) -> None:
        """In place: (tokens, heads, head_dim)."""
        part = heads[..., : 2 * turns.shape[-1]]
        turned = torch.view_as_complex(part.float().view(*part.shape[:-1], -1, 2)) * turns
        part.copy_(torch.view_as_real(turned).flatten(-2))
