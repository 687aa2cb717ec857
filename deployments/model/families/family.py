"""What differs between model families: how a picture becomes embeddings, and which positions tokens stand at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from deployments.contract import Pixels
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


class Attention(Protocol):
    """Where the keys and values of a forward's tokens go, and what each of its tokens looks at."""

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """(tokens, heads, head_dim) for queries of that shape; ``keys_values`` is (tokens, 2 * kv heads, head_dim)."""
        ...


class Family(Protocol):
    """A model taken apart into the steps that the row engine runs."""

    @property
    def kv_shape(self) -> KVShape: ...

    @property
    def widths(self) -> Widths: ...

    @property
    def weights(self) -> Iterator[torch.Tensor]:
        """The model's parameters and buffers."""
        ...

    def features(self, pictures: Sequence[Pixels]) -> list[torch.Tensor]:
        """(visual tokens, hidden size) of each picture, computed together, each in memory of its own."""
        ...

    def embed(self, input_ids: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """(tokens, hidden size): token embeddings of (tokens,) ids, the pictures' features in their places."""
        ...

    def positions(self, prompt: Prompt, pictures: Sequence[Pixels]) -> tuple[torch.Tensor, int]:
        """(3, tokens) rotary positions on the CPU, and what to add to a later token's index to get its own."""
        ...

    def hidden(self, embeddings: torch.Tensor, positions: torch.Tensor, attention: Attention) -> torch.Tensor:
        """(tokens, hidden size) of the last layer; ``positions`` is (3, tokens)."""
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 (…, vocabulary)."""
        ...
