"""``config.json`` of GLM-4V-9B under its own key names, and what of it this package computes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from deployments.checkpoints import CheckpointError

BUILT = {
    "rmsnorm": True, "post_layer_norm": True, "multi_query_attention": True, "add_qkv_bias": True,
    "add_bias_linear": False, "apply_residual_connection_post_layernorm": False, "original_rope": True,
    "pre_seq_len": None, "tie_word_embeddings": False,
}  # fmt: skip
"""Switches of the published code, and the one way that its published checkpoints set them."""


@dataclass(frozen=True, slots=True)
class Eyes:
    """``vision_config``: the tower, which sees a picture of ``image_size`` pixels a side."""

    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_hidden_layers: int
    image_size: int
    patch_size: int
    num_positions: int
    scaling_factor: float
    layer_norm_eps: float = 1e-6
    in_channels: int = 3

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """What a picture takes of its prompt: two by two patches a token, and one at each end."""
        return (self.grid // 2) ** 2 + 2

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """Raises CheckpointError for a key that is missing, and for sizes that do not fit together."""
        needed = [field.name for field in fields(cls) if field.name not in ("layer_norm_eps", "in_channels")]
        if lacking := [name for name in needed if name not in found]:
            raise CheckpointError(f"vision_config says nothing of {', '.join(lacking)}")
        if found.get("hidden_act", "gelu") != "gelu":
            raise CheckpointError(f"vision_config.hidden_act is {found['hidden_act']!r}, and the tower has gelu")
        eyes = cls(**{field.name: found[field.name] for field in fields(cls) if field.name in found})
        side = eyes.grid * eyes.patch_size
        if side != eyes.image_size or eyes.grid % 2 or eyes.num_positions != eyes.grid**2 + 1:
            raise CheckpointError(
                f"vision_config makes {eyes.grid} x {eyes.grid} patches of {eyes.patch_size} in a picture of "
                f"{eyes.image_size} pixels a side, and {eyes.num_positions} positions of them: they are of two models"
            )
        return eyes


@strict
class ChatGlmConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped here
    """Read and written as published; transformers finds what it asks for by its own names."""

    model_type = "chatglm"
    attribute_map = {  # noqa: RUF012  # as the base class has it
        "num_hidden_layers": "num_layers", "vocab_size": "padded_vocab_size", "head_dim": "kv_channels",
        "num_key_value_heads": "multi_query_group_num", "intermediate_size": "ffn_hidden_size",
        "max_position_embeddings": "seq_length", "rms_norm_eps": "layernorm_epsilon",
    }  # fmt: skip

    num_layers: int = 40
    hidden_size: int = 4096
    ffn_hidden_size: int = 13696
    num_attention_heads: int = 32
    multi_query_group_num: int = 2
    kv_channels: int = 128
    padded_vocab_size: int = 151552
    seq_length: int = 8192
    layernorm_epsilon: float = 1.5625e-07
    rope_ratio: float | int = 1
    initializer_range: float = 0.02
    use_cache: bool = True
    pad_token_id: int | None = 151329
    eos_token_id: int | list[int] | None = None
    bos_token_id: int | None = None
    boi_token_id: int = 151339
    eoi_token_id: int = 151340
    vision_config: dict[str, Any] | None = None

    @property
    def eyes(self) -> Eyes:
        return Eyes.of(self.vision_config or {})

    @property
    def rope_theta(self) -> float:
        return 10_000.0 * self.rope_ratio


def check_built(found: Mapping[str, Any]) -> None:
    """Raises CheckpointError for a switch that is set as no published checkpoint sets it."""
    for name, value in BUILT.items():
        if name in found and found[name] != value:
            raise CheckpointError(f"{name} is {found[name]!r}, and GLM-4V-9B is published with {value!r}")
