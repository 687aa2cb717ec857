"""A text model over a flat list of tokens, whichever rows they are of: prefill and decode alike.

Equal to the published ones but for the order of roundings: projections that read the same input are one product,
queries and keys are turned in place, and what they look at is the caller's business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from deployments.model.families.family import Attention, KVShape
from deployments.model.families.layers import Layer

Turns = Callable[[torch.Tensor], torch.Tensor]
"""(3, tokens) rotary positions become (tokens, 1, pairs) complex: what to multiply pairs of values there with."""


def unchanged(hidden: torch.Tensor) -> torch.Tensor:
    return hidden


@dataclass(frozen=True, slots=True)
class Block:
    """A layer's parts; those that come after attention and MLP are of models that normalise there too."""

    before_attention: Layer
    qkv: Layer
    out: Layer
    before_mlp: Layer
    mlp: Layer
    after_attention: Layer = unchanged
    after_mlp: Layer = unchanged


@dataclass(frozen=True, slots=True)
class TextModel:
    """Blocks with what stands around them, their weights shared with the loaded model."""

    blocks: Sequence[Block]
    last_norm: Layer
    turns: Turns
    heads: int
    kv: KVShape

    def hidden(self, embeddings: torch.Tensor, positions: torch.Tensor, attention: Attention) -> torch.Tensor:
        """(tokens, hidden size) of the last layer, of such embeddings at (3, tokens) rotary positions."""
        turns, hidden = self.turns(positions), embeddings
        for index, block in enumerate(self.blocks):
            qkv = block.qkv(block.before_attention(hidden)).view(len(hidden), -1, self.kv.head_dim)
            turn(qkv[:, : self.heads + self.kv.kv_heads], turns)
            seen = attention(index, qkv[:, : self.heads], qkv[:, self.heads :])
            hidden = hidden + block.after_attention(block.out(seen.reshape(len(hidden), -1)))
            hidden = hidden + block.after_mlp(block.mlp(block.before_mlp(hidden)))
        return self.last_norm(hidden)


def turn(heads: torch.Tensor, turns: torch.Tensor) -> None:
    """In place: (tokens, heads, head_dim); pairs of neighbouring values, of the first part of every head."""
    part = heads[..., : 2 * turns.shape[-1]]
    turned = torch.view_as_complex(part.float().view(*part.shape[:-1], -1, 2)) * turns
    part.copy_(torch.view_as_real(turned).flatten(-2))
