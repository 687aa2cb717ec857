"""What a checkpoint's ``generation_config.json`` may ask for, and what of it is in force: where answers end, no more.

Both engines decode as the model's knobs say, greedily or with beams. What else the file asks for is told at start, or
refused where answers without it would not be the model's. Told from its fields alone, without torch.
"""

from collections.abc import Mapping
from typing import Any

from deployments.checkpoints import CheckpointError

GENERATION = "generation_config.json"

IN_FORCE = ("eos_token_id", "pad_token_id", "bos_token_id")

REFUSED = (
    "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id",
    "forced_decoder_ids", "force_words_ids", "constraints", "sequence_bias", "stop_strings", "min_length",
    "min_new_tokens", "guidance_scale", "watermarking_config", "token_healing",
)  # fmt: skip
"""What the model must not say, or has to, and what ends its answers: they would be others without it."""

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""Of no effect unless ``do_sample`` is set."""

WITHOUT_EFFECT = (
    "use_cache", "cache_implementation", "cache_config", "max_cache_len", "low_memory", "prefill_chunk_size",
    "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
    "assistant_lookbehind", "target_lookbehind", "assistant_early_exit", "max_matching_ngram_size", "speculation_type",
    "prompt_lookup_num_tokens", "use_mtp", "compile_config", "disable_compile", "continuous_batching_config",
    "decoder_start_token_id", "transformers_version", "_from_model_config", "_commit_hash",
)  # fmt: skip
"""How fast tokens come, and what is told besides them: not which they are."""

DEFAULTS: dict[str, Any] = {
    "do_sample": False, "num_beams": 1, "num_beam_groups": 1, "num_return_sequences": 1, "early_stopping": False,
    "length_penalty": 1.0, "diversity_penalty": 0.0, "repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "min_length": 0, "min_new_tokens": 0,
    "max_length": 20, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0, "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0, "guidance_scale": 1.0, "penalty_alpha": 0.0, "remove_invalid_values": False,
    "renormalize_logits": False, "token_healing": False,
}  # fmt: skip
"""What ``generate`` does anyway, written down (transformers 5.23)."""

SHOWN_CHARS = 60


def not_in_force(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that would have ``generate`` answer otherwise than the engines do."""
    passed = {*IN_FORCE, *WITHOUT_EFFECT, *(() if fields.get("do_sample") else SAMPLING)}
    return {name: value for name, value in fields.items() if name not in passed and not _says_nothing(name, value)}


def check(fields: Mapping[str, Any], checkpoint: str) -> None:
    """Raises CheckpointError for what the answers cannot do without."""
    if refused := {name: value for name, value in not_in_force(fields).items() if name in REFUSED}:
        raise CheckpointError(
            f"{GENERATION} of checkpoint {checkpoint} sets {told(refused)}, which is not supported, and without which "
            "its answers would be others: remove it there to serve the checkpoint without"
        )


def told(fields: Mapping[str, Any]) -> str:
    """``name: value, …`` with long values cut."""
    return ", ".join(f"{name}: {_short(value)}" for name, value in sorted(fields.items()))


def _says_nothing(name: str, value: Any) -> bool:
    return value is None or value in ([], {}, "") or (name in DEFAULTS and value == DEFAULTS[name])


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"
