"""Safety backends whose folders are not what they should be do not start: none of them passes pictures unseen."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from deployments.checkpoints import CheckpointError
from deployments.preprocess.safety.cards import CardClassifier
from deployments.preprocess.safety.classifier import Classifier
from deployments.preprocess.safety.load import load_checks
from deployments.preprocess.safety.settings import SafetySettings

DEMO_CARDS = Path(__file__).parents[4] / SafetySettings().cards
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 346\n"
CONFIG, WEIGHTS, PROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        id2label={0: "normal", 1: "nsfw"}, label2id={"normal": 0, "nsfw": 1},
    )  # fmt: skip
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def holding(name, text):
    return lambda folder: (folder / name).write_text(text)


def half(name):
    def change(folder):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])

    return change


def edited(**values):
    def change(folder):
        (folder / CONFIG).write_text(json.dumps(json.loads((folder / CONFIG).read_text()) | values))

    return change


def spoilt(value):
    def change(folder):
        tensors = load_file(folder / WEIGHTS)
        name = max(tensors)
        tensors[name] = tensors[name].clone()
        tensors[name].view(-1)[0] = value
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return change


COMMON = {
    "weights are a pointer": (holding(WEIGHTS, POINTER), "model.safetensors is a Git LFS pointer"),
    "weights are empty": (holding(WEIGHTS, ""), "model.safetensors is empty"),
    "half of the weights": (half(WEIGHTS), "model.safetensors is cut off"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "model.safetensors"),
    "config is broken": (half(CONFIG), "config.json is no JSON"),
    "config is a list": (holding(CONFIG, "[]"), "no JSON object"),
    "config is a pointer": (holding(CONFIG, POINTER), "config.json is a Git LFS pointer"),
    "NaN in a weight": (spoilt(float("nan")), "NaN or infinity"),
    "infinity in a weight": (spoilt(float("inf")), "NaN or infinity"),
}
OF_A_CLASSIFIER = {
    "weights of another shape": (edited(intermediate_size=32), "do not fit its config.json"),
    "a layer less in the config": (edited(num_hidden_layers=1), "lacks layers"),
    "a layer more in the config": (edited(num_hidden_layers=3), "do not fit its config.json"),
    "config of nothing": (edited(hidden_size="wide"), "as published"),
    "processor config is broken": (half(PROCESSOR), "as published"),
    "processor config is missing": (lambda folder: (folder / PROCESSOR).unlink(), "as published"),
    "pictures divided by nothing": (holding(PROCESSOR, json.dumps({"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "image_std": [0, 0, 0]})), "no shares|as published"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("kind", COMMON | OF_A_CLASSIFIER)
def test_a_classifier_that_is_broken_does_not_start(vit, tmp_path, kind):
    change, says = (COMMON | OF_A_CLASSIFIER)[kind]
    folder = Path(shutil.copytree(vit, tmp_path / "broken"))
    change(folder)
    with pytest.raises(CheckpointError, match=says) as told:
        Classifier.load(str(folder))
    assert str(folder) in str(told.value)


@pytest.mark.parametrize("kind", COMMON)
def test_a_card_classifier_that_is_broken_does_not_start(tmp_path, kind):
    change, says = COMMON[kind]
    folder = Path(shutil.copytree(DEMO_CARDS, tmp_path / "broken"))
    change(folder)
    with pytest.raises(CheckpointError, match=says) as told:
        CardClassifier.load(folder)
    assert "python -m demo.cards.train" in str(told.value)


@pytest.mark.parametrize("name", ["classifier", "clip"])
def test_a_missing_folder_is_no_name_on_the_hub(tmp_path, name):
    folder = f"{tmp_path}/nowhere"
    value = folder if name == "classifier" else {"folder": folder, "phrases": {"card": "a card"}}
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        load_checks(SafetySettings(blocklist=None, cards=None, **{name: value}))


def test_weights_of_a_head_that_is_not_used_are_left_over(vit, tmp_path):
    folder = Path(shutil.copytree(vit, tmp_path / "more"))
    save_file(
        load_file(folder / WEIGHTS) | {"vit.pooler.dense.weight": torch.ones(2, 2)}, folder / WEIGHTS, {"format": "pt"}
    )
    assert Classifier.load(str(folder))
