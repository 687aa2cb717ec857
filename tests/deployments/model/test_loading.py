"""Loading: what settings mean, and errors that say what to do."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from deployments.model import loading, quantizing
from deployments.model.loading import load, resolve_device, resolve_dtype
from deployments.model.settings import CheckpointError, ModelSettings
from serve_app.cli import main


def test_on_the_cpu_auto_is_float32_and_every_end_token_is_known(vision_model):
    loaded = vision_model.loaded
    assert (str(loaded.device), loaded.dtype) == ("cpu", torch.float32)
    assert loaded.model.dtype == torch.float32
    assert len(loaded.eos_token_ids) == 3
    assert loaded.layout.cell == 28
    assert not loaded.model.training


def test_the_banner_names_what_serves(vision_model):
    text = vision_model.banner()
    for part in ("M parameters", "dtype float32", "quantization none", "device cpu", "MB", "engine rows"):
        assert part in text


def test_on_the_cpu_auto_is_the_quicker_type(monkeypatch):
    monkeypatch.setattr(loading, "quickest_dtype", lambda: torch.bfloat16)
    assert resolve_dtype("auto", torch.device("cpu")) == torch.bfloat16
    assert resolve_dtype("float32", torch.device("cpu")) == torch.float32


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


def test_a_checkpoint_stored_in_nf4_loads_as_it_was_saved(checkpoint, tmp_path, capsys):
    assert main(["quantize", str(checkpoint), str(tmp_path / "nf4")]) == 0
    assert "18 layers in NF4" in capsys.readouterr().out
    settings = ModelSettings(checkpoint=str(checkpoint), quantization="nf4", dtype="bfloat16")
    fresh, again = (
        load(settings.model_copy(update={"checkpoint": str(folder)})) for folder in (checkpoint, tmp_path / "nf4")
    )
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        assert torch.equal(fresh.model(ids).logits, again.model(ids).logits)
    assert {layer.compute_dtype for layer in quantizing.quantized(again.model).values()} == {torch.bfloat16}
    exact = load(settings.model_copy(update={"checkpoint": str(tmp_path / "nf4"), "dtype": "float32"}))
    assert {layer.compute_dtype for layer in quantizing.quantized(exact.model).values()} == {torch.float32}
    assert {p.dtype for p in exact.model.parameters()} == {torch.uint8, torch.float32}


def test_a_checkpoint_stored_in_nf4_is_not_taken_for_an_unquantized_one(checkpoint, tmp_path):
    main(["quantize", str(checkpoint), str(tmp_path / "nf4")])
    with pytest.raises(
        CheckpointError, match=r"stored in nf4, and quantization is none: set args\.model\.quantization"
    ):
        load(ModelSettings(checkpoint=str(tmp_path / "nf4")))


def test_quantizing_needs_a_new_folder_and_a_checkpoint(checkpoint, tmp_path, capsys):
    assert main(["quantize", str(checkpoint), str(checkpoint)]) == 2
    assert main(["quantize", f"{tmp_path}/nowhere", str(tmp_path / "nf4")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_layers_that_bitsandbytes_cannot_run_are_named_with_their_shape(checkpoint):
    model = load(ModelSettings(checkpoint=str(checkpoint), quantization="nf4", dtype="bfloat16")).model
    model.model.language_model.layers[1].mlp.down_proj.out_features = 100
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.down_proj has 256 and 100: set .*quantization: none"):
        quantizing.finish(model, torch.bfloat16)


def test_nf4_takes_a_third_of_the_quantized_layers_memory(checkpoint):
    plain, small = (
        quantizing.weight_bytes(load(ModelSettings(checkpoint=str(checkpoint), quantization=q, dtype="bfloat16")).model)
        for q in ("none", "nf4")
    )
    assert plain["quantized"] == 0
    assert small["quantized"] < (plain["kept"] - small["kept"]) / 3


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


def test_a_checkpoint_without_one_of_its_weights_is_not_filled_with_random_ones(checkpoint, tmp_path):
    def change(folder):
        weights = load_file(folder / "model.safetensors")
        lost = next(name for name in weights if "down_proj" in name)
        save_file({n: w for n, w in weights.items() if n != lost}, folder / "model.safetensors", {"format": "pt"})

    with pytest.raises(CheckpointError, match=r"lacks 1 weights of its config, such as .*down_proj"):
        load(ModelSettings(checkpoint=str(broken(checkpoint, tmp_path, change))))


def test_missing_weights_are_named(checkpoint, tmp_path):
    folder = broken(checkpoint, tmp_path, lambda folder: (folder / "model.safetensors").unlink())
    with pytest.raises(CheckpointError, match="holds no weights"):
        load(ModelSettings(checkpoint=str(folder)))
