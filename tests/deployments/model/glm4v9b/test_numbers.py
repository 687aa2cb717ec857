"""What the model computes, against an implementation written independently, in float32."""

import pytest
import torch
from transformers import GlmConfig, GlmForCausalLM

from deployments.model.families.glm4v9b.adapter import positions_of
from deployments.model.rows.cache import Piece, PrefillAttention, RowCache

from . import independent
from .asking import picture, request_to

WITHIN = 1e-4
IDS = [5, 9, 250, 17, 17, 17, 17, 3, 44, 120, 7]
REPEATED = [0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 7]


def off(ours, theirs):
    """The largest difference, as a share of the spread where that is above one."""
    return float((ours - theirs).abs().max() / max(1.0, float(theirs.abs().max())))


@pytest.fixture
def family(loaded):
    return loaded.take_apart()


def normalised(one):
    mean, std = (torch.tensor(v)[:, None, None] for v in (
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))  # fmt: skip
    return (torch.tensor(one).permute(2, 0, 1) / 255 - mean) / std


def by_rows(loaded, family, embeddings, positions):
    """Logits as the row engine computes them: a prefill into its cache, in two pieces."""
    cache = RowCache(family.kv_shape, 2, 128, loaded.dtype, loaded.device)
    places, half = positions.expand(3, -1), len(embeddings) // 2
    parts = [
        family.hidden(embeddings[a:b], places[:, a:b], PrefillAttention(cache, [Piece(1, a, b - a)]))
        for a, b in ((0, half), (half, len(embeddings)))
    ]
    return family.logits(torch.cat(parts))


@torch.inference_mode()
def test_text_logits_at_repeated_positions_too(loaded, family, config, weights):
    embeddings = weights["transformer.embedding.word_embeddings.weight"][IDS]
    expected = independent.text_logits(config, weights, embeddings, REPEATED)
    ids, positions = torch.tensor([IDS]), torch.tensor([REPEATED])
    asked = loaded.model(input_ids=ids, position_ids=positions, attention_mask=torch.ones_like(ids)).logits[0]
    assert off(asked, expected) <= WITHIN
    assert off(by_rows(loaded, family, family.embed(ids[0], ()), positions), expected) <= WITHIN


@torch.inference_mode()
def test_text_logits_are_those_of_transformers_glm(loaded, config, weights):
    """Its ``GlmForCausalLM``, with the published weights under its names and the joint projections split."""
    heads, groups, size = config["num_attention_heads"], config["multi_query_group_num"], config["kv_channels"]
    glm = GlmForCausalLM(
        GlmConfig(
            vocab_size=config["padded_vocab_size"], hidden_size=config["hidden_size"], head_dim=size,
            intermediate_size=config["ffn_hidden_size"], num_hidden_layers=config["num_layers"],
            num_attention_heads=heads, num_key_value_heads=groups, rms_norm_eps=config["layernorm_epsilon"],
            rope_theta=10_000.0 * config["rope_ratio"], pad_token_id=0, eos_token_id=[1],
        )
    ).eval()  # fmt: skip
    renamed = {}
    for name, weight in weights.items():
        if ".vision." in name or "rotary" in name:
            continue
        for old, new in (
            ("transformer.embedding.word_embeddings", "model.embed_tokens"), ("transformer.output_layer", "lm_head"),
            ("transformer.encoder.final_layernorm", "model.norm"), ("transformer.encoder.layers", "model.layers"),
            ("self_attention.dense.", "self_attn.o_proj."), ("mlp.dense_h_to_4h.", "mlp.gate_up_proj."),
            ("mlp.dense_4h_to_h.", "mlp.down_proj."),
        ):  # fmt: skip
            name = name.replace(old, new)
        if "query_key_value" in name:
            for kind, part in zip("qkv", weight.split([heads * size, groups * size, groups * size]), strict=True):
                renamed[name.replace("self_attention.query_key_value", f"self_attn.{kind}_proj")] = part
        else:
            renamed[name] = weight
    glm.load_state_dict(renamed)
    ids, positions = torch.tensor([IDS]), torch.tensor([REPEATED])
    asked = {"input_ids": ids, "position_ids": positions, "attention_mask": torch.ones_like(ids)}
    assert off(loaded.model(**asked).logits, glm(**asked).logits) <= WITHIN


@torch.inference_mode()
def test_vision_features(family, config, weights):
    shown = [picture(1), picture(2)]
    found = family.features(shown)
    for one, ours in zip(shown, found, strict=True):
        theirs = independent.vision_features(config, weights, normalised(one))
        assert ours.shape == theirs.shape
        assert off(ours, theirs) <= WITHIN
    assert off(family.features([picture(2)])[0], found[1]) <= 1e-6
    assert found[0].untyped_storage().data_ptr() != found[1].untyped_storage().data_ptr()


@torch.inference_mode()
def test_logits_of_a_picture_and_a_question(loaded, family, config, weights):
    shown = picture(7)
    request = request_to(loaded, "图片是什么？", (shown,))
    ids, end = request.prompt.input_ids[0].tolist(), config["eoi_token_id"]
    place = ids.index(config["boi_token_id"])
    as_published = [*ids[: place + 2], *ids[ids.index(end) :]]  # three ids for the picture
    expected = independent.picture_logits(config, weights, as_published, normalised(shown))
    assert len(expected) == len(ids)
    assert off(loaded.model(**loaded.inputs(request.prompt, (shown,))).logits[0], expected) <= WITHIN
    embeddings = family.embed(request.prompt.input_ids[0], family.features([shown]))
    ours = by_rows(loaded, family, embeddings, positions_of(request.prompt))
    assert off(ours, expected) <= WITHIN
    other = independent.picture_logits(config, weights, as_published, normalised(picture(8)))
    assert off(other, expected) > 0.01  # the picture counts


def test_all_patches_of_a_picture_stand_at_one_position(loaded, family):
    request = request_to(loaded, "ab", (picture(0),))
    positions, delta = family.positions(request.prompt, request.pictures)
    begin, tokens = 4, loaded.layout.count
    expected = [0, 1, 2, 3, begin, *[begin + 1] * (tokens - 2), begin + 2, begin + 3, begin + 4]
    assert [row.tolist() for row in positions] == [expected] * 3
    assert request.prompt.tokens + delta == begin + 5
    with pytest.raises(ValueError, match="must match"):
        family.positions(request.prompt, ())
