"""A tiny random GLM-4.6V on disk: real classes, byte-level tokenizer, GLM's special tokens and kind of template."""

from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, Glm46VConfig, Glm46VForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil

from deployments.model import loading
from deployments.model.vision_model import VisionModel

from .glm4v9b import tiny


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """``dtype: auto`` is float32 whatever is quickest here: answers are compared token for token."""
    monkeypatch.setattr(loading, "quickest_dtype", lambda: torch.float32)


SPECIAL = [
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>", "<|image|>",
    "<|video|>",
]  # fmt: skip
MARKERS = ["<think>", "</think>", "<|begin_of_box|>", "<|end_of_box|>", "/nothink"]
TEMPLATE = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<|begin_of_image|><|image|><|end_of_image|>"
    "{% elif c.type == 'text' %}{{ c.text }}{% endif %}{% endfor %}{% endif %}"
    "{% if m.role == 'user' and not enable_thinking %}/nothink{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% if not enable_thinking %}<think></think>\n{% endif %}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKERS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|endoftext|>", padding_side="left",
        chat_template=TEMPLATE,
    )  # fmt: skip


def build_checkpoint(folder: Path, seed: int, **text: int) -> Path:
    """``text`` overrides the language model's shape."""
    tokenizer = build_tokenizer()
    ids = {text: tokenizer.convert_tokens_to_ids(text) for text in SPECIAL}
    eos = [ids["<|endoftext|>"], ids["<|user|>"], ids["<|observation|>"]]
    config = Glm46VConfig(
        text_config={
            "model_type": "glm4v_text", "vocab_size": 320, "hidden_size": 128, "intermediate_size": 256,
            "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "pad_token_id": eos[0], "eos_token_id": eos,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5, "mrope_section": [2, 3, 3]},
        } | text,
        vision_config={
            "model_type": "glm4v_vision", "depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 128,
            "out_hidden_size": 128, "image_size": 112, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
        image_token_id=ids["<|image|>"], video_token_id=ids["<|video|>"],
        image_start_token_id=ids["<|begin_of_image|>"], image_end_token_id=ids["<|end_of_image|>"],
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Glm46VForConditionalGeneration(config).eval()
    with torch.no_grad():  # the default spread gives almost constant logits: widen it, so that answers vary
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.mul_(8.0 if "embed_tokens" in name or "lm_head" in name else 4.0)
    model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=eos[0], do_sample=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Glm46VImageProcessorPil(size={"shortest_edge": 12544, "longest_edge": 28 * 28 * 15000}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory):
    """A function that builds the tiny model of a seed and shape, each in a folder of its own."""
    return lambda seed, **text: build_checkpoint(tmp_path_factory.mktemp("tiny-glm"), seed, **text)


@pytest.fixture(scope="session")
def published_of(tmp_path_factory: pytest.TempPathFactory):
    """A function that writes the tiny GLM-4V-9B of a seed and shape, as the real one is published."""
    return lambda seed=0, **shape: tiny.write(tmp_path_factory.mktemp("glm4v9b"), seed, **shape)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """One with a token for each byte: a Chinese character takes three."""
    return build_tokenizer()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(tmp_path_factory.mktemp("tiny-glm"), seed=0)


@pytest.fixture(scope="session")
def vision_model(checkpoint: Path):
    model = VisionModel.from_pretrained(checkpoint)
    yield model
    model.close()
