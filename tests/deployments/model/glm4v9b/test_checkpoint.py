"""The published files, loaded by the settings alone: every weight once, nothing made up, no code of theirs run."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file

from deployments.contract import View
from deployments.model import quantizing
from deployments.model.checkpoint import inspect, read_config
from deployments.model.families.glm4v9b.config import ChatGlmConfig
from deployments.model.families.glm4v9b.kind import KIND
from deployments.model.families.registry import entry_of
from deployments.model.loading import load
from deployments.model.settings import CheckpointError, ModelKnobs, ModelSettings
from deployments.model.vision_model import VisionModel
from serve_app.cli import main

from . import tiny
from .asking import picture

PUBLISHED = tiny.config_of(
    {
        "num_layers": 40, "hidden_size": 4096, "ffn_hidden_size": 13696, "num_attention_heads": 32, "kv_channels": 128,
        "multi_query_group_num": 2, "padded_vocab_size": 151552,
    },
    {
        "hidden_size": 1792, "intermediate_size": 15360, "num_heads": 16, "num_hidden_layers": 63, "image_size": 1120,
        "num_positions": 6401,
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def published():
    """The model of the real configuration, on the meta device."""
    with torch.device("meta"):
        return KIND.blank(ChatGlmConfig.from_dict(PUBLISHED), torch.bfloat16)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_real_configuration_has_the_published_numbers_of_parameters(published):
    assert count(published.transformer.encoder.layers) == 8_158_433_280
    assert count(published.transformer.vision.transformer) == 4_279_387_392
    assert count(published) == 13_906_320_896
    assert published.config.eyes.tokens == 1602


def test_the_published_weights_are_covered_both_ways(published):
    shapes = {name: tuple(parameter.shape) for name, parameter in published.named_parameters()}
    assert shapes == tiny.published_shapes(PUBLISHED)


def test_every_weight_is_loaded_as_it_lies_in_the_files(loaded, weights):
    found = {name: parameter.detach() for name, parameter in loaded.model.named_parameters()}
    assert set(found) | {tiny.COMPUTED} == set(weights)
    assert all(torch.equal(parameter, weights[name]) for name, parameter in found.items())


def test_all_of_its_end_tokens_end_an_answer(loaded, config):
    assert loaded.eos_token_ids == tuple(config["eos_token_id"])


def test_no_code_of_the_checkpoint_is_run(folder, tmp_path):
    whole = shutil.copytree(folder, tmp_path / "with code")
    for name in ("configuration_chatglm", "modeling_chatglm", "tokenization_chatglm"):
        (whole / f"{name}.py").write_text("raise SystemExit('the published code was run')")
    load(ModelSettings(checkpoint=str(whole)))
    assert not [name for name in sys.modules if "chatglm" in name and "deployments" not in name]


@pytest.fixture
def changed(folder, tmp_path):
    """A function that copies the checkpoint, has it changed, and gives its settings."""
    whole = shutil.copytree(folder, tmp_path / "changed")

    def change(edit):
        edit(whole)
        return ModelSettings(checkpoint=str(whole))

    return change


def edited(**fields):
    def edit(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | fields))

    return edit


def without_weight(name):
    def edit(folder):
        kept = {n: w for file in folder.glob("*.safetensors") for n, w in load_file(file).items() if n != name}
        tiny.write_weights(folder, {n: w for n, w in kept.items() if n != tiny.COMPUTED})

    return edit


def with_weight(name):
    def edit(folder):
        kept = {n: w for file in folder.glob("*.safetensors") for n, w in load_file(file).items()}
        kept.pop(tiny.COMPUTED)
        tiny.write_weights(folder, kept | {name: torch.ones(3)})

    return edit


def cut_ranks(folder):
    lines = (folder / "tokenizer.model").read_bytes().splitlines()
    (folder / "tokenizer.model").write_bytes(b"\n".join(lines[:200]))


def without_end(folder):
    (folder / "generation_config.json").unlink()
    edited(eos_token_id=[999_999])(folder)


def text_only(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["vision_config"]
    (folder / "config.json").write_text(json.dumps(config))


FAULTS = {
    "a missing weight": (
        without_weight("transformer.encoder.layers.1.mlp.dense_4h_to_h.weight"),
        r"lacks 1 weights of its config, such as transformer\.encoder\.layers\.1\.mlp\.dense_4h_to_h\.weight",
    ),
    "a weight too many": (
        with_weight("transformer.vision.more.weight"),
        r"1 weights that its config\.json does not know, such as transformer\.vision\.more\.weight",
    ),
    "a text model": (text_only, r"'chatglm' and has no vision_config, so it reads text only; supported: glm4v, glm46v"),
    "another family": (edited(model_type="cogvlm"), r"'cogvlm'; supported: .*chatglm with a vision_config"),
    "a switch": (edited(original_rope=False), "original_rope is False, and GLM-4V-9B is published with True"),
    "an eye of another shape": (
        edited(vision_config=tiny.EYES | {"num_positions": 50}), "50 positions of them: they are of two models",
    ),
    "an eye unsaid": (edited(vision_config={"image_size": 112, "patch_size": 14}), "says nothing of hidden_size"),
    "a picture token of another tokenizer": (edited(boi_token_id=7), "boi_token_id 7 .* is not <.begin_of_image.>"),
    "an end token of nobody": (without_end, "names no tokens of the model"),
    "a cut tokenizer": (cut_ranks, "no word for byte 200: it is cut off"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.model").unlink(), r"tokenizer\.model is missing"),
    "ranks that are none": (
        lambda folder: (folder / "tokenizer.model").write_text("hello\n"), "not in tiktoken's format",
    ),
    "no control tokens": (
        lambda folder: (folder / "tokenizer_config.json").write_text("{}"), "names no control tokens",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_named(changed, fault):
    edit, said = FAULTS[fault]
    settings = changed(edit)
    with pytest.raises(CheckpointError, match=said) as refused:
        load(settings)
    assert settings.checkpoint in str(refused.value)


def test_what_can_be_told_without_torch_is(folder, changed):
    inspect(folder)
    config = read_config(folder)
    assert entry_of(config, folder).view(config) == View(side=112, tokens=18, tiles=False)
    with pytest.raises(CheckpointError, match="prepares pictures of 112 pixels a side"):
        inspect(changed(edited(vision_config=tiny.EYES | {"image_size": 1120, "num_positions": 6401})).checkpoint)


QUANTIZED = {"nf4": 3 * 4, "nf4+vision": 3 * 4 + 2 * 4 + 4}


@pytest.mark.parametrize(("quantization", "layers"), QUANTIZED.items())
def test_stored_in_nf4_it_loads_as_it_was_saved(tmp_path, capsys, quantization, layers):
    published, folder = tiny.write(tmp_path / "published"), tmp_path / "nf4"
    more = ["--vision"] if quantization == "nf4+vision" else []
    assert main(["quantize", str(published), str(folder), *more]) == 0
    assert f"{layers} layers in NF4" in capsys.readouterr().out
    settings = ModelSettings(checkpoint=str(folder), quantization=quantization, dtype="bfloat16")
    fresh, again = load(settings.model_copy(update={"checkpoint": str(published)})), load(settings)
    names = set(quantizing.quantized(again.model))
    assert len(names) == layers
    assert "transformer.output_layer" not in names
    assert any("vision" in name for name in names) == (quantization == "nf4+vision")
    assert again.model.transformer.vision.dtype == torch.bfloat16
    assert (folder / "tokenizer.json").exists()
    text = "the 图片 <|user|> 12"
    assert again.tokenizer(text)["input_ids"] == fresh.tokenizer(text)["input_ids"]
    shown = (picture(1),)
    with torch.inference_mode():
        logits = [one.model(**one.inputs(one.writer().write("?", [18]), shown)).logits for one in (fresh, again)]
    assert torch.equal(*logits)
    model = VisionModel.load(settings, ModelKnobs())
    model.warm_up()
    model.close()
    with pytest.raises(CheckpointError, match=f"stored in {quantization.replace('+', '.')}, and quantization is none"):
        load(ModelSettings(checkpoint=str(folder)))
