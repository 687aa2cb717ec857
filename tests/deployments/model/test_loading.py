"""Loading: what settings mean, and errors that say what to do."""

import json
import shutil

import pytest
import torch

from deployments.model.loading import CheckpointError, load, resolve_device, resolve_dtype
from deployments.model.settings import ModelSettings


def test_on_the_cpu_auto_is_float32_and_every_end_token_is_known(vision_model):
    loaded = vision_model.loaded
    assert (str(loaded.device), loaded.dtype) == ("cpu", torch.float32)
    assert loaded.model.dtype == torch.float32
    assert len(loaded.eos_token_ids) == 3
    assert loaded.layout.cell == 28
    assert not loaded.model.training


def test_the_banner_names_what_serves(vision_model):
    text = vision_model.banner()
    for part in ("M parameters", "dtype float32", "quantization none", "device cpu", "MB", "engine reference"):
        assert part in text


def test_auto_is_bfloat16_on_a_gpu_and_a_demanded_gpu_must_be_there():
    assert resolve_dtype("auto", torch.device("cuda")) == torch.bfloat16
    if not torch.cuda.is_available():
        with pytest.raises(CheckpointError, match="sees no GPU"):
            resolve_device("cuda")


def test_nf4_quantizes_the_text_and_keeps_the_vision_tower_and_the_head(checkpoint):
    import bitsandbytes as bnb

    loaded = load(ModelSettings(checkpoint=str(checkpoint), quantization="nf4", dtype="bfloat16"))
    quantized = {name for name, module in loaded.model.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    assert len([name for name in quantized if "language_model.layers" in name]) == len(quantized) == 3 * 6
    visual = loaded.model.model.visual
    assert {p.dtype for p in visual.parameters()} == {torch.bfloat16}
    assert loaded.model.lm_head.weight.dtype == torch.bfloat16
    some = loaded.model.model.language_model.layers[0].mlp.down_proj.weight
    assert some.quant_state.quant_type == "nf4"
    assert some.quant_state.nested


def test_an_nf4_model_answers(checkpoint):
    from deployments.model.vision_model import VisionModel

    model = VisionModel.from_pretrained(checkpoint, quantization="nf4", dtype="bfloat16")
    model.warm_up()
    model.close()


def broken(checkpoint, tmp_path, change):
    folder = tmp_path / "broken"
    shutil.copytree(checkpoint, folder)
    change(folder)
    return folder


def test_a_missing_folder_is_named_with_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match=r"/nowhere does not exist: set args\.model\.checkpoint"):
        load(ModelSettings(checkpoint=f"{tmp_path}/nowhere"))


def test_a_folder_without_a_config_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load(ModelSettings(checkpoint=str(tmp_path)))


def test_another_model_family_is_refused(checkpoint, tmp_path):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))

    with pytest.raises(CheckpointError, match="type 'llama'; supported: glm4v, glm46v"):
        load(ModelSettings(checkpoint=str(broken(checkpoint, tmp_path, change))))


def test_missing_weights_are_named(checkpoint, tmp_path):
    folder = broken(checkpoint, tmp_path, lambda folder: (folder / "model.safetensors").unlink())
    with pytest.raises(CheckpointError, match="cannot load checkpoint"):
        load(ModelSettings(checkpoint=str(folder)))
