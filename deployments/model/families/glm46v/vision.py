"""The vision tower: from uint8 pixels to what the text model reads of a picture.

Equal to transformers' ``Glm4vVisionModel`` on patches of its image processor, but for the order of roundings. A still
picture fills both frames of a temporal patch, so the two slices of the patch convolution add up to one product.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.functional import gelu, grid_sample, linear, scaled_dot_product_attention

from deployments.contract import Pixels
from deployments.model.arithmetic import quickest
from deployments.model.families.layers import Layer, fused, gated, norm
from deployments.model.pixels import PatchLayout, patches
from deployments.model.stores import TensorStore

GRID_BYTES = 16 * 2**20
"""Of what only hangs on a picture's size; pictures of one service come in few sizes."""


PATCHES = 512
"""Of the picture that the attention is chosen by."""

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Block:
    before_attention: Layer
    qkv: Layer
    out: Layer
    before_mlp: Layer
    mlp: Layer


class VisionTower:
    """``visual`` of a GLM, its weights shared but for the patch product and the downsampling."""

    @torch.no_grad()
    def __init__(self, visual: Any, layout: PatchLayout) -> None:
        self._layout, config = layout, visual.config
        self._heads, self._merge = config.num_heads, config.spatial_merge_size
        kernel = visual.patch_embed.proj
        self._patch = kernel.weight.sum(2).flatten(1), kernel.bias
        self._table, self._frequencies = visual.embeddings.position_embedding.weight, visual.rotary_pos_emb.inv_freq
        self._after_patch, self._last = norm(visual.post_conv_layernorm), norm(visual.post_layernorm)
        self._blocks = [_block(block) for block in visual.blocks]
        down = visual.downsample
        self._down = down.weight.permute(0, 2, 3, 1).flatten(1).contiguous(), down.bias
        self._merger, merger = visual.merger, visual.merger
        self._merge_mlp = gated(fused(merger.gate_proj, merger.up_proj), fused(merger.down_proj))
        self._grids = TensorStore(GRID_BYTES)
        self._attend = self._quickest_attention()

    def features(self, pictures: Sequence[Pixels]) -> list[torch.Tensor]:
        """(visual tokens, hidden size of the text model) of each, every one in memory of its own."""
        weight = self._patch[0]
        shapes = [(p.shape[0] // self._layout.patch_size, p.shape[1] // self._layout.patch_size) for p in pictures]
        counts = [height * width for height, width in shapes]
        places, cos, sin = (_joined(parts) for parts in zip(*map(self._grid, shapes), strict=True))
        values = _joined([patches(picture, self._layout, weight.device) for picture in pictures])
        hidden = self._after_patch(linear(values.to(weight.dtype), *self._patch)) + places
        for block in self._blocks:
            qkv = block.qkv(block.before_attention(hidden)).view(len(hidden), 3, self._heads, -1)
            hidden = hidden + block.out(self._attended(_turned(qkv[:, :2], cos, sin), qkv[:, 2], counts))
            hidden = hidden + block.mlp(block.before_mlp(hidden))
        merged = torch.split(self._merged(self._last(hidden)), [count // self._merge**2 for count in counts])
        return [part.clone() for part in merged] if len(merged) > 1 else list(merged)

    def _quickest_attention(self) -> Attend:
        """The fused kernel, which is made for long sequences; on some CPUs plain products take half of its time."""
        weight = self._patch[0]
        if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
            return _fused_attention
        one = torch.ones(1, self._heads, PATCHES, weight.shape[0] // self._heads, dtype=weight.dtype)
        ways = {attend: partial(attend, one, one, one) for attend in (_fused_attention, _plain_attention)}
        return quickest(ways)

    def _attended(self, turned: torch.Tensor, values: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        """Every patch looks at those of its own picture; (patches, hidden size)."""
        parts = zip(torch.split(turned, list(counts)), torch.split(values, list(counts)), strict=True)
        return _joined([self._attention(both[:, 0], both[:, 1], own) for both, own in parts])

    def _attention(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(patches, hidden size) of (patches, heads, head_dim)."""
        found = self._attend(*(part.transpose(0, 1)[None] for part in (queries, keys, values)))
        return found[0].transpose(0, 1).flatten(1)

    def _merged(self, hidden: torch.Tensor) -> torch.Tensor:
        down = linear(hidden.reshape(-1, self._down[0].shape[1]), *self._down)
        merger = self._merger
        return self._merge_mlp(gelu(merger.post_projection_norm(merger.proj(down))))

    def _grid(self, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What hangs on (height, width) in patches alone: position embeddings, cosines and sines of the rotation."""
        key, size = repr(shape).encode(), self._table.shape[1]
        known = self._grids.get(key)
        if known is None:
            known = torch.cat([self._position_embeddings(shape).float(), *self._rotations(shape)], -1)
            self._grids.put(key, known)
        places, cos, sin = torch.split(known, [size, *[(known.shape[1] - size) // 2] * 2], -1)
        return places.to(self._table.dtype), cos, sin

    def _coordinates(self, shape: tuple[int, int]) -> torch.Tensor:
        """(2, patches): row and column of each, in the order of ``patches``."""
        (height, width), merge = shape, self._merge
        grid = torch.cartesian_prod(torch.arange(height), torch.arange(width)).T
        blocks = grid.view(2, height // merge, merge, width // merge, merge).transpose(2, 3)
        return blocks.reshape(2, -1).to(self._table.device)

    def _position_embeddings(self, shape: tuple[int, int]) -> torch.Tensor:
        """The learned table, interpolated to the picture's own number of rows and columns."""
        side = int(len(self._table) ** 0.5)
        table = self._table.float().view(side, side, -1).permute(2, 0, 1)[None]
        sides = torch.tensor(shape, device=table.device)[:, None]
        where = ((self._coordinates(shape) + 0.5) / sides * 2 - 1).flip(0).T[None, :, None]
        sampled = grid_sample(table, where, mode="bicubic", align_corners=False, padding_mode="border")
        return sampled[0, :, :, 0].T.to(self._table.dtype)

    def _rotations(self, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        angles = (self._coordinates(shape)[..., None] * self._frequencies).transpose(0, 1).flatten(1)
        return angles.cos(), angles.sin()


def _block(block: Any) -> _Block:
    attention, mlp = block.attn, block.mlp
    return _Block(
        before_attention=norm(block.norm1),
        qkv=fused(attention.qkv),
        out=fused(attention.proj),
        before_mlp=norm(block.norm2),
        mlp=gated(fused(mlp.gate_proj, mlp.up_proj), fused(mlp.down_proj)),
    )


def _fused_attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """All (1, heads, patches, head_dim)."""
    return scaled_dot_product_attention(queries, keys, values)


def _plain_attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    scores = (queries * queries.shape[-1] ** -0.5).matmul(keys.transpose(-1, -2))
    return torch.matmul(scores.softmax(-1), values)


def _turned(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """(patches, 2, heads, head_dim): the first half of each head turned against the second, in float32 inside."""
    first, second = heads.float().chunk(2, -1)
    cos, sin = cos[:, None, None], sin[:, None, None]
    turned = torch.empty_like(heads)
    half = first.shape[-1]
    turned[..., :half] = torch.addcmul(first * cos, second, sin, value=-1)
    turned[..., half:] = torch.addcmul(second * cos, first, sin)
    return turned


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
