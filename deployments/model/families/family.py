"""What differs between model families: how a checkpoint is read and asked, and how its model is taken into steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from deployments.contract import Pixels, View
from deployments.model.prompt import Prompt, Writer


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
    vocabulary: int


class Attention(Protocol):
    """Where the keys and values of a forward's tokens go, and what each of its tokens looks at."""

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """(tokens, heads, head_dim) for queries of that shape; ``keys_values`` is (tokens, 2 * kv heads, head_dim)."""
        ...


class Layout(Protocol):
    """How pictures are normalised and cut; ``str`` of it tells one from another."""

    @property
    def view(self) -> View:
        """What the preprocessor is to make of a picture."""
        ...

    def tokens(self, picture: Pixels) -> int:
        """What a picture takes of its prompt."""
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

    def tokens(self, picture: Pixels) -> int:
        """What a picture takes of its prompt."""
        ...

    def largest(self, tokens: int) -> list[Pixels]:
        """Pictures that take as much memory as any of so many tokens in all; at least one."""
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


@dataclass(frozen=True, slots=True)
class Source:
    """Where a checkpoint comes from: its ``folder``, or None and a repository on the hub."""

    checkpoint: str
    folder: Path | None
    revision: str | None

    @property
    def keywords(self) -> dict[str, Any]:
        return {"revision": self.revision, "local_files_only": self.folder is not None}

    def file(self, name: str) -> Path | None:
        """Where a file of it lies on this machine; None if the checkpoint has none of that name."""
        found = cached_file(self.checkpoint, name, _raise_exceptions_for_missing_entries=False, **self.keywords)
        return None if found is None else Path(found)


class Kind(Protocol):
    """How checkpoints of a family are read and asked. Whatever is wrong with one is a CheckpointError."""

    files: Mapping[str, str]
    """What ``tokenizer``, ``layout`` and ``prompt`` are read from, for messages."""

    @property
    def model_class(self) -> Any:
        """Has transformers' ``from_pretrained``."""
        ...

    @property
    def tower(self) -> str:
        """The vision tower by its module's full name."""
        ...

    @property
    def head(self) -> str:
        """The output layer by its module's full name: never quantized."""
        ...

    def config(self, source: Source) -> PreTrainedConfig: ...

    def tokenizer(self, source: Source) -> PreTrainedTokenizerBase: ...

    def layout(self, source: Source, config: PreTrainedConfig) -> tuple[Layout, tuple[Any, ...]]:
        """How pictures are cut, and what is to be saved beside model and tokenizer to know it again."""
        ...

    def blank(self, config: PreTrainedConfig, dtype: torch.dtype | None) -> PreTrainedModel:
        """The model that ``config`` makes, in random values, on the device that torch makes tensors on."""
        ...

    def facts(self, config: PreTrainedConfig) -> dict[str, str]:
        """What only the checkpoint says, and answers hang on: for whoever looks whether they are good."""
        ...

    def check_tokens(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises CheckpointError unless config and tokenizer mean the same by the tokens of pictures."""
        ...

    def writer(
        self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, system_prompt: str, enable_thinking: bool
    ) -> Writer: ...

    def inputs(
        self, model: PreTrainedModel, layout: Any, prompt: Prompt, pictures: Sequence[Pixels]
    ) -> dict[str, torch.Tensor]:
        """What the model's own ``generate`` takes, on its device."""
        ...

    def take_apart(self, model: PreTrainedModel, layout: Any) -> Family:
        """The model for the row engine; its weights stay where they are."""
        ...
