"""Checkpoints as downloads, copies and careless edits leave them: each is refused with the file and what to do."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from deployments.checkpoints import CheckpointError
from deployments.model.checkpoint import inspect
from deployments.model.loading import load
from deployments.model.probe import probes
from deployments.model.settings import ModelKnobs, ModelSettings
from deployments.model.vision_model import VisionModel
from serve_app.cli import main

DEMO = Path(__file__).parents[3] / "demo/checkpoint"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 10336232\n"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
LAYER = "model.language_model.layers.1.mlp.down_proj.weight"
EMBEDDING = "model.language_model.embed_tokens.weight"


def holding(name, text):
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


def lacking(name):
    return lambda folder: (folder / name).unlink()


def cut(name, share):
    def change(folder):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(len(whole) * share)])

    return change


def edited(name, **values):
    """The JSON file with these values; dots in a name go down."""

    def change(folder):
        whole = json.loads((folder / name).read_text())
        for path, value in values.items():
            *above, last = path.split("__")
            part = whole
            for key in above:
                part = part[key]
            part[last] = value
        (folder / name).write_text(json.dumps(whole))

    return change


def weights(change_tensors):
    def change(folder):
        tensors = load_file(folder / WEIGHTS)
        change_tensors(tensors)
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return change


def link_to_nothing(name):
    def change(folder):
        (folder / name).unlink()
        (folder / name).symlink_to("../../blobs/4d7a21")

    return change


def folder_instead(name):
    def change(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def sharded(spoil=lambda folder: None, **places):
    """The weights in two files and an index, which is changed by ``places``."""

    def change(folder):
        tensors = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        names = {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(sorted(tensors))}
        for file in set(names.values()):
            save_file({n: t for n, t in tensors.items() if names[n] == file}, folder / file, {"format": "pt"})
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names | places}))
        spoil(folder)

    return change


SECOND = "model-00002-of-00002.safetensors"

FILES = {
    "weights are a Git LFS pointer": (holding(WEIGHTS, POINTER), WEIGHTS, "git lfs pull"),
    "weights are a Xet pointer": (holding(WEIGHTS, "# xet version 0\nfilesize = 3\n"), WEIGHTS, "git lfs pull"),
    "weights are empty": (holding(WEIGHTS, ""), WEIGHTS, "is empty: download it again"),
    "weights are a web page": (holding(WEIGHTS, "<!doctype html>" + " " * 400), WEIGHTS, "no safetensors file"),
    "weights are zeros": (lambda f: (f / WEIGHTS).write_bytes(bytes(10**5)), WEIGHTS, "no safetensors file"),
    "half of the weights": (cut(WEIGHTS, 0.5), WEIGHTS, "is cut off: it has .* download it again"),
    "all but the weights' last bytes": (cut(WEIGHTS, 0.9999), WEIGHTS, "is cut off"),
    "a beginning of the weights' header": (cut(WEIGHTS, 0.002), WEIGHTS, "is cut off"),
    "three bytes of weights": (lambda f: (f / WEIGHTS).write_bytes(b"\x10\0\0"), WEIGHTS, "is cut off"),
    "weights with something behind them": (lambda f: (f / WEIGHTS).open("ab").write(b"more"), WEIGHTS, "is longer than"),
    "weights with a header that is no JSON": (lambda f: (f / WEIGHTS).write_bytes(b"\x08" + bytes(7) + b"{'a': 1}"), WEIGHTS, "broken safetensors header"),
    "weights with a header of another kind": (lambda f: (f / WEIGHTS).write_bytes(b"\x08" + bytes(7) + b'{"a": 1}'), WEIGHTS, "broken safetensors header"),
    "no weights": (lacking(WEIGHTS), WEIGHTS, "holds no weights.* again"),
    "weights are a link to nothing": (link_to_nothing(WEIGHTS), WEIGHTS, "link to a file that is not there: copy"),
    "weights are a folder": (folder_instead(WEIGHTS), WEIGHTS, "is no file"),
    "weights of integers": (weights(lambda t: t.update({LAYER: t[LAYER].long()})), "config.json", "quantization_config.* unquantized"),
    "weights of eight bits without their scales": (weights(lambda t: t.update({LAYER: t[LAYER].to(torch.float8_e4m3fn)})), "config.json", "F8_E4M3.*unquantized"),
    "old weights are a pointer": (lambda f: (f / WEIGHTS).rename(f / "pytorch_model.bin").write_text(POINTER), "pytorch_model.bin", "git lfs pull"),
    "a shard is missing": (sharded(lacking(SECOND)), SECOND, "is missing, and model.safetensors.index.json names it: download"),
    "a shard is a pointer": (sharded(holding(SECOND, POINTER)), SECOND, "git lfs pull"),
    "half a shard": (sharded(cut(SECOND, 0.5)), SECOND, "is cut off"),
    "the index names a file that was never there": (sharded(**{LAYER: "model-00003-of-00003.safetensors"}), "model-00003-of-00003.safetensors", "is missing"),
    "the index puts a weight into another file": (sharded(**{EMBEDDING: SECOND, LAYER: "model-00001-of-00002.safetensors", "x": SECOND}), INDEX, "two checkpoints, download all"),
    "the index leads out of the folder": (sharded(**{LAYER: "../other/model.safetensors"}), INDEX, "no file beside it"),
    "the index is no JSON": (sharded(holding(INDEX, "{'weight_map'")), INDEX, "is no JSON"),
    "the index names nothing": (sharded(holding(INDEX, "{}")), INDEX, "names no weight files"),
    "the index is a list": (sharded(holding(INDEX, "[]")), INDEX, "no JSON object but a list"),
    "config is missing": (lacking("config.json"), "config.json", "set args.model.checkpoint"),
    "config is broken": (cut("config.json", 0.5), "config.json", "is no JSON.*download it again"),
    "config is empty": (holding("config.json", ""), "config.json", "is empty"),
    "config is a pointer": (holding("config.json", POINTER), "config.json", "git lfs pull"),
    "config is a list": (holding("config.json", "[1]"), "config.json", "no JSON object"),
    "config is nested without end": (holding("config.json", "[" * 100_000), "config.json", "is no JSON"),
    "config in another encoding": (lambda f: (f / "config.json").write_bytes('{"name": "模型"}'.encode("gbk")), "config.json", "as UTF-8"),
    "config without a model type": (holding("config.json", "{}"), "config.json", "supported: glm4v, glm46v"),
    "config of a model type that is no name": (edited("config.json", model_type=["glm46v"]), "config.json", "supported: glm4v, glm46v"),
    "config is a folder": (folder_instead("config.json"), "config.json", "is no file"),
    "generation config is broken": (holding("generation_config.json", "{,}"), "generation_config.json", "is no JSON"),
    "generation config is empty": (holding("generation_config.json", ""), "generation_config.json", "is empty"),
    "preprocessor config is missing": (lacking("preprocessor_config.json"), "preprocessor_config.json", "is missing: download"),
    "preprocessor config is broken": (holding("preprocessor_config.json", "no"), "preprocessor_config.json", "is no JSON"),
    "tokenizer is missing": (lacking("tokenizer.json"), "tokenizer.json", "is missing: download it again"),
    "tokenizer is broken": (cut("tokenizer.json", 0.7), "tokenizer.json", "is no JSON"),
    "tokenizer is a pointer": (holding("tokenizer.json", POINTER), "tokenizer.json", "git lfs pull"),
    "tokenizer config is broken": (holding("tokenizer_config.json", "{"), "tokenizer_config.json", "is no JSON"),
    "template is missing": (lacking("chat_template.jinja"), "chat_template.jinja", "needs its chat template"),
    "template is empty": (holding("chat_template.jinja", "\n"), "chat_template.jinja", "is empty"),
    "template is no Jinja": (holding("chat_template.jinja", "a\n{% for m in messages %}"), "chat_template.jinja", r"no Jinja \(line 2"),
    "template takes a filter that is none": (holding("chat_template.jinja", "{{ messages | shout }}"), "chat_template.jinja", "shout"),
    "template is no text": (lambda f: (f / "chat_template.jinja").write_bytes(b"\xff\xfe\x00"), "chat_template.jinja", "as UTF-8"),
    "template in the tokenizer config is no Jinja": (lambda f: (lacking("chat_template.jinja")(f), edited("tokenizer_config.json", chat_template="{% if %}")(f)), "tokenizer_config.json", "no Jinja"),
    "template in the tokenizer config is no template": (lambda f: (lacking("chat_template.jinja")(f), edited("tokenizer_config.json", chat_template=[7])(f)), "tokenizer_config.json", "no Jinja"),
}  # fmt: skip
"""What the files alone tell: (what was done to the folder, the file that is named, the reason and what to do)."""

CONTENTS = {
    "config with a quantization that is a word": (edited("config.json", quantization_config="nf4"), "config.json", "as they were published"),
    "config with a quantization of another kind": (edited("config.json", quantization_config={"quant_method": "awq"}), "broken", "is stored in awq.* take the unquantized"),
    "config without a layer": (edited("config.json", text_config__num_hidden_layers=2), "config.json", "lacks a layer"),
    "config without a layer of the vision tower": (edited("config.json", vision_config__depth=1), "config.json", "lacks a layer"),
    "config with a layer more": (edited("config.json", text_config__num_hidden_layers=4), "config", "lacks .* weights of its config"),
    "weights of another width": (edited("config.json", text_config__intermediate_size=512), "config.json", r"has shape .* by config.json it has .* take both from one"),
    "weights of another vocabulary": (edited("config.json", text_config__vocab_size=400), "config.json", "has shape"),
    "a weight is missing": (weights(lambda t: t.pop(LAYER)), LAYER, "lacks 1 weights.*download it again"),
    "a weight is left over": (weights(lambda t: t.update({"model.adapter.weight": torch.ones(2, 2)})), "model.adapter.weight", "does not know"),
    "config of a text model": (edited("config.json", text_config=None), "config.json", "of a model of .* take both from one"),
    "config with text for a number": (edited("config.json", text_config__hidden_size="wide"), "config.json", "published"),
    "config without heads": (edited("config.json", text_config__num_attention_heads=0), "config.json", "published"),
    "config with an activation that is none": (edited("config.json", text_config__hidden_act="gelyou"), "config.json", "published"),
    "one NaN in a weight": (weights(lambda t: t[LAYER].view(-1)[777].fill_(float("nan"))), LAYER, "NaN or infinity: download it again"),
    "one NaN in a rare token's embedding": (weights(lambda t: t[EMBEDDING][250, 3].fill_(float("nan"))), EMBEDDING, "NaN or infinity"),
    "infinity in a bias": (weights(lambda t: t["model.language_model.layers.0.self_attn.q_proj.bias"][0].fill_(float("inf"))), "q_proj.bias", "NaN or infinity"),
    "a weight of zeros": (weights(lambda t: t[LAYER].zero_()), LAYER, "one value throughout"),
    "rotary base of zero": (edited("config.json", text_config__rope_parameters__rope_theta=0), "config.json", "NaN or infinity"),
    "generation config ends at no token": (edited("generation_config.json", eos_token_id=[256, 100_000]), "generation_config.json", "no answer would ever end"),
    "generation config ends at a word": (edited("generation_config.json", eos_token_id="end"), "generation_config.json", "published"),
    "preprocessor config of another model": (holding("preprocessor_config.json", '{"image_processor_type": "CLIPImageProcessor"}'), "preprocessor_config.json", "published"),
    "preprocessor config without a type": (holding("preprocessor_config.json", '{"image_processor_type": 7}'), "preprocessor_config.json", "published"),
    "preprocessor config with other patches": (edited("preprocessor_config.json", patch_size=16), "preprocessor_config.json", "32 px"),
    "preprocessor config without means": (edited("preprocessor_config.json", image_mean=None), "preprocessor_config.json", "published"),
    "tokenizer of no model": (edited("tokenizer.json", model__type="Sentences"), "tokenizer.json", "published"),
    "tokenizer without its model": (holding("tokenizer.json", "{}"), "tokenizer.json", "published"),
    "tokenizer with more tokens than the weights": (edited("tokenizer.json", model__vocab={chr(0x4E00 + i): i for i in range(1000)}), "tokenizer.json", "embed 320"),
    "image token of another tokenizer": (edited("config.json", image_token_id=7), "config.json", "is not <|image|> of the tokenizer"),
    "template raises": (holding("chat_template.jinja", "{{ raise_exception('system first') }}"), "chat_template.jinja", "system first"),
    "template reaches for what is not there": (holding("chat_template.jinja", "{{ messages[0].content[0].image.size }}"), "chat_template.jinja", "published"),
    "template drops the picture": (holding("chat_template.jinja", "{% for m in messages %}{{ m.content[-1].text }}{% endfor %}"), "chat_template.jinja", "0 pictures for 1"),
    "template drops the question": (holding("chat_template.jinja", "<|image|>"), "chat_template.jinja", "leaves the question out"),
}  # fmt: skip
"""What only loading tells, in the same form."""


ANSWERS = {
    "rotary sections that do not fit": (edited("config.json", text_config__rope_parameters__mrope_section=[1, 1, 1]), "config.json", "split"),
    "pictures divided by nothing": (edited("preprocessor_config.json", image_std=[0, 0, 0]), "preprocessor_config.json", "NaN or infinity"),
    "weights so large that they overflow": (weights(lambda t: t["lm_head.weight"].mul_(1e38)), "weights", "NaN or infinity"),
    "a head that knows one token": (weights(lambda t: t["lm_head.weight"].copy_(t["lm_head.weight"][:1].clone().expand_as(t["lm_head.weight"]))), "weights", "all tokens alike"),
}  # fmt: skip
"""What only answering tells."""


@pytest.fixture
def broken(checkpoint, tmp_path):
    def make(change):
        folder = tmp_path / "broken"
        shutil.copytree(checkpoint, folder)
        change(folder)
        return folder

    return make


def refused(act, name, hint):
    with pytest.raises(CheckpointError, match=f"(?s){hint}") as told:
        act()
    assert name in str(told.value)


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_checkpoint_are_refused_before_and_when_loading(broken, kind):
    change, name, hint = FILES[kind]
    folder = broken(change)
    refused(lambda: inspect(folder), name, hint)
    refused(lambda: load(ModelSettings(checkpoint=str(folder))), name, hint)


@pytest.mark.parametrize("kind", CONTENTS)
def test_contents_that_are_no_model_are_refused_when_loading(broken, kind):
    change, name, hint = CONTENTS[kind]
    folder = broken(change)
    refused(lambda: load(ModelSettings(checkpoint=str(folder))), name, hint)


@pytest.mark.parametrize("engine", ["rows", "reference"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_a_model_that_answers_nonsense_is_refused_when_warming_up(broken, kind, engine):
    change, name, hint = ANSWERS[kind]
    model = VisionModel.load(ModelSettings(checkpoint=str(broken(change)), engine=engine), ModelKnobs())
    refused(model.warm_up, name, hint)
    model.close()


def test_an_engine_that_says_other_than_its_model_is_refused_when_warming_up(checkpoint, monkeypatch):
    model = VisionModel.from_pretrained(checkpoint)
    model.warm_up()
    asked = [replace(asked, logits=-asked.logits) for asked in probes(model.loaded)]
    monkeypatch.setattr("deployments.model.vision_model.probes", lambda _: asked)
    with pytest.raises(CheckpointError, match="where the model itself says"):
        model.warm_up()
    model.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (FILES["half of the weights"][0], "cut off"),
        (weights(lambda t: t[LAYER].view(-1)[777].fill_(float("nan"))), "NaN or infinity"),
        (weights(lambda t: t[LAYER].zero_()), "one value throughout"),
        (ANSWERS["a head that knows one token"][0], "all tokens alike"),
    ],
    ids=["files", "NaN", "zeros", "answers"],
)  # fmt: skip
def test_what_is_broken_is_not_quantized_and_leaves_nothing_behind(broken, tmp_path, capsys, change, reason):
    assert main(["quantize", str(broken(change)), str(tmp_path / "nf4")]) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "nf4").exists()


def test_shards_are_loaded_as_one_file_is(broken, checkpoint):
    pieces, whole = (load(ModelSettings(checkpoint=str(folder))) for folder in (broken(sharded()), checkpoint))
    assert pieces.fingerprint() == whole.fingerprint()


def test_a_checkpoint_folder_that_is_a_file_or_cannot_be_read_is_named(checkpoint, tmp_path, monkeypatch):
    refused(
        lambda: inspect(checkpoint / "config.json"), "config.json", "is a file and no folder: set args.model.checkpoint"
    )
    refused(lambda: inspect(f"{tmp_path}/nowhere"), "nowhere", "does not exist: set args.model.checkpoint")
    monkeypatch.setattr(os, "access", lambda *_: False)
    refused(lambda: inspect(checkpoint), str(checkpoint), "let this user list and read it")


def test_a_file_that_this_user_may_not_read_is_named(checkpoint, monkeypatch):
    real = Path.open

    def guarded(path, *arguments, **more):
        if path.name == WEIGHTS:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", guarded)
    refused(lambda: inspect(checkpoint), WEIGHTS, r"Permission denied\): let this user read it")


def test_a_sound_checkpoint_and_a_name_on_the_hub_pass(checkpoint):
    inspect(checkpoint)
    inspect(DEMO)
    inspect("zai-org/GLM-4.6V-Flash")


def test_a_name_that_the_hub_does_not_give_is_told_from_a_folder(monkeypatch):
    def offline(*_, **__):
        raise OSError("We couldn't connect to 'https://huggingface.co'")

    monkeypatch.setattr("transformers.PreTrainedConfig.get_config_dict", offline)
    refused(
        lambda: load(ModelSettings(checkpoint="demo/chekpoint")),
        "demo/chekpoint",
        r"connect.*a folder begins with / or \./",
    )


def test_weights_that_memory_does_not_hold_are_no_broken_ones(checkpoint, monkeypatch):
    def short(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.16 GiB")

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", short)
    refused(lambda: load(ModelSettings(checkpoint=str(checkpoint))), str(checkpoint), r"1\.16 GiB.*quantization: nf4")


def test_a_device_that_fails_while_loading_is_not_blamed_on_the_checkpoint(checkpoint, monkeypatch):
    def gone(*_, **__):
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", gone)
    with pytest.raises(torch.AcceleratorError, match="ECC"):
        load(ModelSettings(checkpoint=str(checkpoint)))


def test_a_template_with_what_transformers_adds_to_jinja_passes(broken):
    extended = "{% for m in messages %}{% if not m %}{% break %}{% endif %}{% generation %}{{ m | tojson }}{% endgeneration %}{% endfor %}"
    inspect(broken(holding("chat_template.jinja", extended)))


def test_buffers_that_old_checkpoints_hold_are_not_left_over_weights(broken):
    old = {
        "model.language_model.rotary_emb.inv_freq": torch.ones(8),
        "model.visual.embeddings.position_ids": torch.arange(4),
    }
    assert load(ModelSettings(checkpoint=str(broken(weights(lambda t: t.update(old))))))


def test_looking_at_a_checkpoint_needs_neither_torch_nor_transformers():
    code = (
        "import sys; from deployments.model.checkpoint import inspect; inspect(sys.argv[1]); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(DEMO)], check=False).returncode == 0
