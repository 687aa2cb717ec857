"""EVA2-CLIP as GLM-4V-9B has it: normalisation after attention and MLP, and the weights' published names."""

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

from deployments.model.families.glm4v9b.config import Eyes


class Attention(nn.Module):
    def __init__(self, eyes: Eyes) -> None:
        super().__init__()
        self.heads = eyes.num_heads
        self.query_key_value = nn.Linear(eyes.hidden_size, 3 * eyes.hidden_size)
        self.dense = nn.Linear(eyes.hidden_size, eyes.hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        batch, patches, _ = hidden.shape
        qkv = self.query_key_value(hidden).view(batch, patches, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(*qkv.unbind(0))
        attended: torch.Tensor = self.dense(seen.transpose(1, 2).reshape(batch, patches, -1))
        return attended


class Mlp(nn.Module):
    def __init__(self, eyes: Eyes) -> None:
        super().__init__()
        self.fc1 = nn.Linear(eyes.hidden_size, eyes.intermediate_size)
        self.fc2 = nn.Linear(eyes.intermediate_size, eyes.hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.fc2(gelu(self.fc1(hidden)))
        return found


class Layer(nn.Module):
    """Its normalisations are named as if they came before; they come after."""

    def __init__(self, eyes: Eyes) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(eyes.hidden_size, eps=eyes.layer_norm_eps)
        self.attention = Attention(eyes)
        self.mlp = Mlp(eyes)
        self.post_attention_layernorm = nn.LayerNorm(eyes.hidden_size, eps=eyes.layer_norm_eps)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.input_layernorm(self.attention(hidden))
        found: torch.Tensor = hidden + self.post_attention_layernorm(self.mlp(hidden))
        return found


class Layers(nn.Module):
    def __init__(self, eyes: Eyes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(eyes) for _ in range(eyes.num_hidden_layers))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


class PatchEmbedding(nn.Module):
    def __init__(self, eyes: Eyes) -> None:
        super().__init__()
        self.cls_embedding = nn.Parameter(torch.zeros(1, eyes.hidden_size))
        self.proj = nn.Conv2d(eyes.in_channels, eyes.hidden_size, eyes.patch_size, eyes.patch_size)
        self.position_embedding = nn.Embedding(eyes.num_positions, eyes.hidden_size)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.proj(images).flatten(2).transpose(1, 2)
        first = self.cls_embedding.expand(len(images), -1, -1)
        return torch.cat([first, patches], 1) + self.position_embedding.weight


class Projection(nn.Module):
    """From four patches at once to a token of the text model."""

    def __init__(self, size: int, intermediate: int) -> None:
        super().__init__()
        self.linear_proj = nn.Linear(size, size, bias=False)
        self.norm1 = nn.LayerNorm(size)
        self.gate_proj = nn.Linear(size, intermediate, bias=False)
        self.dense_h_to_4h = nn.Linear(size, intermediate, bias=False)
        self.dense_4h_to_h = nn.Linear(intermediate, size, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = gelu(self.norm1(self.linear_proj(hidden)))
        found: torch.Tensor = self.dense_4h_to_h(silu(self.gate_proj(hidden)).mul_(self.dense_h_to_4h(hidden)))
        return found


class Tower(nn.Module):
    """(pictures, tokens, text size) of normalised (pictures, 3, side, side); a learned vector stands at each end."""

    def __init__(self, eyes: Eyes, text_size: int, text_intermediate: int) -> None:
        super().__init__()
        self.scale, self.grid = eyes.scaling_factor, eyes.grid
        self.patch_embedding = PatchEmbedding(eyes)
        self.transformer = Layers(eyes)
        self.conv = nn.Conv2d(eyes.hidden_size, text_size, 2, 2)
        self.linear_proj = Projection(text_size, text_intermediate)
        self.boi = nn.Parameter(torch.zeros(1, 1, text_size))
        self.eoi = nn.Parameter(torch.zeros(1, 1, text_size))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.transformer(self.patch_embedding(images))[:, 1:]
        square = patches.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        tokens = self.linear_proj(self.conv(square).flatten(2).transpose(1, 2))
        ends = (end.expand(len(images), -1, -1) for end in (self.boi, self.eoi))
        return torch.cat([next(ends), tokens, next(ends)], 1) / self.scale

    @property
    def dtype(self) -> torch.dtype:
        """Of what it computes in: read where NF4 never goes, a convolution."""
        return self.patch_embedding.proj.weight.dtype
