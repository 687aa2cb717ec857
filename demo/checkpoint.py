"""The demo checkpoint's tokenizer, chat template and architecture: real GLM-4.6V classes, tiny dimensions."""

import string
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, Glm46VConfig, Glm46VForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil

from demo import fields, words
from demo.families import FAMILIES
from deployments.contract import OVERVIEW
from deployments.model.prompt import introduction

FOLDER = Path(__file__).parent / "checkpoint"

SPECIAL = (
    "<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>",
    "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>", "<|image|>", "<|video|>",
)  # fmt: skip
MARKERS = ("<think>", "</think>", "<|begin_of_box|>", "<|end_of_box|>", "/nothink")
UNKNOWN = "<unk>"
MAX_TOKENS = 8192

# About 1 / sqrt(width). With the 0.02 of large models the vision tower stays on a plateau for thousands of pictures.
INITIALIZER_RANGE = 0.06

# The shape of GLM-4.6V's own template: picture before question inside the user turn, thinking switched off by marker.
CHAT_TEMPLATE = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<|begin_of_image|><|image|><|end_of_image|>"
    "{% elif c.type == 'text' %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if m.role == 'user' and enable_thinking is defined and not enable_thinking %}/nothink{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>\n{% endif %}{% endif %}"
)


def alphabet() -> str:
    """Every character the demo draws, asks or answers, and printable ASCII; anything else becomes ``<unk>``."""
    texts = [*words.TEXTS, *fields.TEXTS, *(text for family in FAMILIES.values() for text in family.texts)]
    texts += [introduction(OVERVIEW), introduction((1, 1))]
    printable = string.digits + string.ascii_letters + string.punctuation + " "
    return "".join(sorted(set("".join(texts) + printable)))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, plus GLM's special tokens."""
    vocabulary = {UNKNOWN: 0} | {character: i for i, character in enumerate(alphabet(), start=1)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKERS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=UNKNOWN, pad_token="<|endoftext|>", eos_token="<|endoftext|>",
        padding_side="left", model_max_length=MAX_TOKENS, chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def build_model(tokenizer: PreTrainedTokenizerFast) -> Glm46VForConditionalGeneration:
    """A randomly initialised model; all linear widths are multiples of 64, which NF4 needs."""
    ids = {text: tokenizer.convert_tokens_to_ids(text) for text in SPECIAL}
    eos = [ids["<|endoftext|>"], ids["<|user|>"], ids["<|observation|>"]]
    text = {
        "model_type": "glm4v_text",
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": 256,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_TOKENS,
        "initializer_range": INITIALIZER_RANGE,
        "pad_token_id": ids["<|endoftext|>"],
        "eos_token_id": eos,
        # mrope_section sums to half of the rotated part of a head: 64 * 0.5 / 2
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": [4, 6, 6],
        },
    }
    vision = {
        "model_type": "glm4v_vision",
        "depth": 4,
        "hidden_size": 192,
        "num_heads": 3,
        "intermediate_size": 512,
        "out_hidden_size": 256,
        "image_size": 336,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "initializer_range": INITIALIZER_RANGE,
    }
    config = Glm46VConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        image_start_token_id=ids["<|begin_of_image|>"],
        image_end_token_id=ids["<|end_of_image|>"],
        video_start_token_id=ids["<|begin_of_video|>"],
        video_end_token_id=ids["<|end_of_video|>"],
    )
    model = Glm46VForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=ids["<|endoftext|>"], do_sample=False)
    return model


def build_image_processor() -> Glm46VImageProcessorPil:
    """Pictures between 4 and 1369 visual tokens; bounds are counted over the two frames of a temporal patch."""
    return Glm46VImageProcessorPil(size={"shortest_edge": 112 * 112, "longest_edge": 1036 * 1036 * 2})
