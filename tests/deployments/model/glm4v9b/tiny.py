"""A tiny random GLM-4V-9B on disk in the published layout: names, shards with an index, config keys, tiktoken ranks."""

import base64
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

CONTROL = (
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>",
)  # fmt: skip
WORDS = (
    "th", "the", " the", "er", "ab", "abc", "bc", "\n\n", "  ", "12", "123", "图", "片", "图片", "是", "什么", "什", "么",
)  # fmt: skip
EYES = {
    "dropout_prob": 0.0, "hidden_act": "gelu", "in_channels": 3, "num_hidden_layers": 2, "hidden_size": 64,
    "patch_size": 14, "num_heads": 4, "intermediate_size": 128, "layer_norm_eps": 1e-06, "num_positions": 65,
    "image_size": 112, "scaling_factor": 8,
}  # fmt: skip
TEXT = {
    "add_bias_linear": False, "add_qkv_bias": True, "apply_query_key_layer_scaling": True,
    "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0, "attention_softmax_in_fp32": True,
    "attn_implementation": "sdpa", "bias_dropout_fusion": True, "ffn_hidden_size": 256,
    "fp32_residual_connection": False, "hidden_dropout": 0.0, "hidden_size": 128, "kv_channels": 32,
    "layernorm_epsilon": 1.5625e-07, "multi_query_attention": True, "multi_query_group_num": 2,
    "num_attention_heads": 4, "num_layers": 3, "original_rope": True, "post_layer_norm": True, "rmsnorm": True,
    "rope_ratio": 1, "seq_length": 8192, "use_cache": True, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    "transformers_version": "4.44.0",
}  # fmt: skip
REMOTE = {
    "AutoConfig": "configuration_chatglm.ChatGLMConfig",
    "AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration",
    "AutoModelForCausalLM": "modeling_chatglm.ChatGLMForConditionalGeneration",
}
Shapes = dict[str, tuple[int, ...]]


def ranks() -> list[bytes]:
    """A word a byte, then longer ones, each put together of words before it."""
    found = [bytes([byte]) for byte in range(256)]
    for text in WORDS:
        word = text.encode()
        found += [word[:end] for end in range(2, len(word) + 1) if word[:end] not in found]
    return found


def control_ids() -> dict[str, int]:
    return {token: len(ranks()) + place for place, token in enumerate(CONTROL)}


def config_of(text: dict | None = None, eyes: dict | None = None) -> dict:
    """``config.json`` as published, of this size; what is given replaces it."""
    ids = control_ids()
    return (
        {"model_type": "chatglm", "architectures": ["ChatGLMModel"], "auto_map": REMOTE}
        | TEXT
        | {
            "padded_vocab_size": 320,
            "eos_token_id": [ids["<|endoftext|>"], ids["<|user|>"], ids["<|observation|>"]],
            "pad_token_id": ids["<|endoftext|>"],
            "boi_token_id": ids["<|begin_of_image|>"],
            "eoi_token_id": ids["<|end_of_image|>"],
        }
        | (text or {})
        | {"vision_config": EYES | (eyes or {})}
    )


def published_shapes(config: dict) -> Shapes:
    """The published list of weights, by name, written down from it and not from any model."""
    hidden, ffn, vocab = config["hidden_size"], config["ffn_hidden_size"], config["padded_vocab_size"]
    size, heads, groups = config["kv_channels"], config["num_attention_heads"], config["multi_query_group_num"]
    eyes = config["vision_config"]
    seen, wide, patch = eyes["hidden_size"], eyes["intermediate_size"], eyes["patch_size"]
    shapes: Shapes = {
        "transformer.embedding.word_embeddings.weight": (vocab, hidden),
        "transformer.encoder.final_layernorm.weight": (hidden,),
        "transformer.output_layer.weight": (vocab, hidden),
        "transformer.vision.boi": (1, 1, hidden),
        "transformer.vision.eoi": (1, 1, hidden),
        "transformer.vision.conv.bias": (hidden,),
        "transformer.vision.conv.weight": (hidden, seen, 2, 2),
        "transformer.vision.linear_proj.dense_4h_to_h.weight": (hidden, ffn),
        "transformer.vision.linear_proj.dense_h_to_4h.weight": (ffn, hidden),
        "transformer.vision.linear_proj.gate_proj.weight": (ffn, hidden),
        "transformer.vision.linear_proj.linear_proj.weight": (hidden, hidden),
        "transformer.vision.linear_proj.norm1.bias": (hidden,),
        "transformer.vision.linear_proj.norm1.weight": (hidden,),
        "transformer.vision.patch_embedding.cls_embedding": (1, seen),
        "transformer.vision.patch_embedding.position_embedding.weight": (eyes["num_positions"], seen),
        "transformer.vision.patch_embedding.proj.bias": (seen,),
        "transformer.vision.patch_embedding.proj.weight": (seen, 3, patch, patch),
    }
    for layer in range(config["num_layers"]):
        shapes |= {
            f"transformer.encoder.layers.{layer}.{name}": shape
            for name, shape in {
                "input_layernorm.weight": (hidden,),
                "post_attention_layernorm.weight": (hidden,),
                "mlp.dense_4h_to_h.weight": (hidden, ffn),
                "mlp.dense_h_to_4h.weight": (2 * ffn, hidden),
                "self_attention.dense.weight": (hidden, heads * size),
                "self_attention.query_key_value.bias": ((heads + 2 * groups) * size,),
                "self_attention.query_key_value.weight": ((heads + 2 * groups) * size, hidden),
            }.items()
        }
    for layer in range(eyes["num_hidden_layers"]):
        shapes |= {
            f"transformer.vision.transformer.layers.{layer}.{name}": shape
            for name, shape in {
                "attention.dense.bias": (seen,),
                "attention.dense.weight": (seen, seen),
                "attention.query_key_value.bias": (3 * seen,),
                "attention.query_key_value.weight": (3 * seen, seen),
                "input_layernorm.bias": (seen,),
                "input_layernorm.weight": (seen,),
                "mlp.fc1.bias": (wide,),
                "mlp.fc1.weight": (wide, seen),
                "mlp.fc2.bias": (seen,),
                "mlp.fc2.weight": (seen, wide),
                "post_attention_layernorm.bias": (seen,),
                "post_attention_layernorm.weight": (seen,),
            }.items()
        }
    return shapes


COMPUTED = "transformer.rotary_pos_emb.inv_freq"
"""Published among the weights, and used by nobody: it follows from the config."""


def weights_of(config: dict, seed: int) -> dict[str, torch.Tensor]:
    """Random values spread so that answers vary with the picture and the question."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in published_shapes(config).items():
        drawn = torch.randn(shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            made[name] = 1 + drawn / 10
        elif len(shape) == 1:
            made[name] = drawn / 10
        elif "embedding" in name or name.endswith(("boi", "eoi")):
            made[name] = drawn * (4 if name.endswith(("boi", "eoi")) else 1)
        else:
            made[name] = drawn * 1.5 / math.sqrt(math.prod(shape[1:]))
    made["transformer.vision.linear_proj.dense_4h_to_h.weight"] *= 16  # against scaling_factor
    made["transformer.output_layer.weight"] *= 3
    return made


def write(folder: Path, seed: int = 0, text: dict | None = None, eyes: dict | None = None) -> Path:
    """The checkpoint of a seed and shape, in three files of weights."""
    config = config_of(text, eyes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    end = config["pad_token_id"]
    (folder / "generation_config.json").write_text(
        json.dumps(
            {
                "eos_token_id": config["eos_token_id"],
                "pad_token_id": end,
                "do_sample": True,
                "temperature": 0.8,
                "max_length": 8192,
                "top_p": 0.8,
                "transformers_version": "4.44.0",
            }
        )
    )
    write_weights(folder, weights_of(config, seed))
    write_tokenizer(folder, config["vision_config"]["image_size"])
    return folder


def write_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    whole = weights | {COMPUTED: torch.arange(8, dtype=torch.float32)}
    names = sorted(whole)
    places, files = {}, 3
    for number in range(files):
        file = f"model-{number + 1:05d}-of-{files:05d}.safetensors"
        part = {name: whole[name].contiguous() for name in names[number::files]}
        save_file(part, folder / file, {"format": "pt"})
        places |= dict.fromkeys(part, file)
    size = sum(tensor.nbytes for tensor in whole.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def write_tokenizer(folder: Path, side: int) -> None:
    lines = (base64.b64encode(word) + b" " + str(rank).encode() for rank, word in enumerate(ranks()))
    (folder / "tokenizer.model").write_bytes(b"\n".join(lines) + b"\n")
    kept = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    told = {
        "auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLM4Tokenizer", None]},
        "added_tokens_decoder": {str(number): {"content": token} | kept for token, number in control_ids().items()},
        "additional_special_tokens": list(CONTROL), "clean_up_tokenization_spaces": False,
        "do_lower_case": False, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
        "model_max_length": 128000, "padding_side": "left", "remove_space": False,
        "tokenizer_class": "ChatGLM4Tokenizer", "image_size": side,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(told, indent=2))
