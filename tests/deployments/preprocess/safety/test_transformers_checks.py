"""Real transformers checkpoints, tiny and random, dropped in as folders by configuration alone."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from deployments.errors import ImageBlocked
from deployments.preprocess.safety.check import Subject
from deployments.preprocess.safety.filter import SafetyFilter
from deployments.preprocess.safety.load import load_checks
from deployments.preprocess.safety.settings import SafetyKnobs, SafetySettings

NONE = {"blocklist": None, "cards": None}
DARK = Subject(np.zeros((60, 90, 3), np.uint8), "0" * 64, "dark")
BRIGHT = Subject(np.full((60, 90, 3), 255, np.uint8), "1" * 64, "bright")


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A ViT that calls bright pictures nsfw: its head reads the sign that brightness leaves in the class token."""
    folder = tmp_path_factory.mktemp("vit")
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        id2label={0: "normal", 1: "nsfw"}, label2id={"normal": 0, "nsfw": 1},
    )  # fmt: skip
    torch.manual_seed(0)
    model = ViTForImageClassification(config).eval()
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    with torch.no_grad():
        features = [
            model.vit(**processor(images=subject.pixels, return_tensors="pt")).last_hidden_state[0, 0]
            for subject in (DARK, BRIGHT)
        ]
        apart = features[1] - features[0]
        model.classifier.weight.copy_(torch.stack([-apart, apart]) * 40)
        middle = (features[0] + features[1]) / 2 @ apart * 40
        model.classifier.bias.copy_(torch.stack([middle, -middle]))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_classifier_s_folder_blocks_flags_or_passes_by_its_own_labels(vit):
    safety = SafetyFilter(load_checks(SafetySettings(**NONE, classifier=str(vit))))
    block = SafetyKnobs(actions={"nsfw": "block"})
    assert safety.review(DARK, block) == ()
    with pytest.raises(ImageBlocked, match="nsfw"):
        safety.review(BRIGHT, block)
    (flag,) = safety.review(BRIGHT, SafetyKnobs(actions={"nsfw": "flag"}))
    assert (flag.label, flag.source) == ("nsfw", "classifier")
    assert flag.score > 0.5
    assert safety.review(BRIGHT, SafetyKnobs(actions={})) == ()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    words = ["a</w>", "card</w>", "cat</w>", "photo</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=CLIPTextConfig(**small, vocab_size=len(tokenizer), eos_token_id=5, projection_dim=8).to_dict(),
        vision_config=CLIPVisionConfig(**small, image_size=32, patch_size=8, projection_dim=8).to_dict(),
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_clip_scores_are_those_of_transformers_own_forward(clip):
    settings = SafetySettings(
        **NONE, clip={"folder": str(clip), "phrases": {"card": "a card"}, "otherwise": ["a cat", "a photo"]}
    )
    (check,) = load_checks(settings)
    model, tokenizer = CLIPModel.from_pretrained(clip).eval(), CLIPTokenizer.from_pretrained(clip)
    processor = CLIPImageProcessorPil.from_pretrained(clip)
    inputs = tokenizer(["a card", "a cat", "a photo"], padding=True, return_tensors="pt")
    inputs |= processor(images=BRIGHT.pixels, return_tensors="pt")
    with torch.no_grad():
        shares = model(**inputs).logits_per_image[0].softmax(-1)
    assert check.scores(BRIGHT) == pytest.approx({"card": float(shares[0])}, abs=1e-5)


@pytest.mark.parametrize("kind", ["classifier", "clip"])
def test_a_folder_that_holds_no_such_checkpoint_is_named(tmp_path, vit, clip, kind):
    for folder in (tmp_path, tmp_path / "missing", clip if kind == "classifier" else vit):
        value = str(folder) if kind == "classifier" else {"folder": str(folder), "phrases": {"a": "a"}}
        with pytest.raises(ValueError, match=str(folder)):
            load_checks(SafetySettings(**NONE, **{kind: value}))


def test_what_is_configured_is_what_is_named(vit):
    settings = SafetySettings(cards=None, blocklist=None, classifier=str(vit))
    assert settings.names == tuple(check.name for check in load_checks(settings)) == ("classifier",)
