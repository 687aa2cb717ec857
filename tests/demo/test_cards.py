"""The card classifier: its pictures, the numpy network that serves, and what it calls a card."""

import json
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file, save_file

from demo.cards import batches, evaluate, network, surfaces, train
from demo.cards.cache import MARKS, Sample, sample
from demo.cards.pictures import BANK, IDENTITY, KINDS, LABELS, draw, held, seeds_of
from demo.families import FAMILIES
from deployments.preprocess.safety.cards import CONFIG, WEIGHTS, CardClassifier
from deployments.preprocess.safety.check import Subject

SAMPLES = sorted((Path(__file__).parents[2] / "demo" / "samples").glob("*.png"))

needs_fonts = pytest.mark.usefixtures("demo_fonts")
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def classifier():
    return CardClassifier.load(network.FOLDER)


@pytest.fixture
def folder(tmp_path):
    """A copy of the committed classifier, to be spoilt."""
    return Path(shutil.copytree(network.FOLDER, tmp_path / "classifier"))


@needs_fonts
@every_kind
def test_a_seed_gives_one_picture(kind):
    one, two, other = draw(kind, 5), draw(kind, 5), draw(kind, 6)
    assert np.array_equal(one.pixels, two.pixels)
    assert one.labels == two.labels == KINDS[kind]
    assert one.pixels.shape != other.pixels.shape or not np.array_equal(one.pixels, other.pixels)


@needs_fonts
@every_kind
def test_pictures_are_rgb_and_large_enough_to_show_something(kind):
    for seed in range(8):
        pixels = draw(kind, seed).pixels
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        assert min(pixels.shape[:2]) >= 200


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 10**12))
def test_a_seed_is_on_one_side_of_the_split(kind, seed):
    side = held(kind, seed)
    assert next(seeds_of(kind, seed, held_out=side)) == seed
    assert next(seeds_of(kind, seed, held_out=not side)) != seed


@needs_fonts
@pytest.mark.parametrize("kind", [IDENTITY, BANK])
def test_only_held_out_pictures_have_unseen_layouts(kind):
    trained = [draw(kind, seed) for seed in islice(seeds_of(kind, 0, held_out=False), 40)]
    held_out = [draw(kind, seed) for seed in islice(seeds_of(kind, 0, held_out=True), 40)]
    assert not any(picture.unseen for picture in trained)
    assert any(picture.unseen for picture in held_out)


@needs_fonts
def test_training_never_sees_the_surfaces_kept_for_evaluation(monkeypatch):
    def never(*_):
        raise AssertionError("a training picture lies on an unseen surface")

    monkeypatch.setattr(surfaces, "UNSEEN", {"kept": never})
    for kind in KINDS:
        for seed in islice(seeds_of(kind, 0, held_out=False), 12):
            draw(kind, seed)


@needs_fonts
def test_training_pictures_are_drawn_once(tmp_path, monkeypatch):
    file = tmp_path / "kept" / "pictures.npz"
    first = sample(30, 32, 0, file)
    assert first.pixels.shape[1:] == (32, 32, 3)
    assert first.labels.sum(axis=0).min() > 0
    monkeypatch.setattr("demo.cards.cache.draw", None)
    again = sample(30, 32, 0, file)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.labels, again.labels)


def test_a_threshold_is_the_lowest_that_is_precise():
    labels = np.array([[1, 1]] * 8 + [[0, 0]] * 2, np.float32)
    scores = np.array([[0.9, 0.9]] * 8 + [[0.7, 0.2], [0.1, 0.6]], np.float32)
    assert train.threshold_for(scores, labels, 0.99) == 0.71
    assert train.threshold_for(scores, labels, 0.8) == 0.5
    assert train.threshold_for(1 - scores, labels, 0.99) == 0.99


def test_training_learns_what_tells_two_colours_apart(monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 8)
    side = 70
    pixels = np.zeros((2, side, side, 3), np.uint8)
    pixels[0, ..., 0], pixels[1, ..., 2] = 230, 230
    marks = np.full((2, MARKS, MARKS, 2), 255, np.uint8) * np.eye(2, dtype=np.uint8)[:, None, None]
    pictures = Sample(*(np.repeat(part, 32, 0) for part in (pixels, np.eye(2, dtype=np.float32), marks)))
    torch.manual_seed(0)
    fresh = network.Network(network.architecture(), normalised=True)
    log = train.train(fresh, pictures, pictures, side=64, steps=25, rate=1.0, seed=0)
    assert log[-1]["loss"] < 0.6


def test_numpy_gives_what_torch_gives(classifier):
    reference = network.load(network.FOLDER)
    rng = np.random.default_rng(0)
    side = classifier.config.input_size
    for scale in (0, 20, 255):
        pixels = (rng.random((side, side, 3)) * scale).astype(np.uint8)
        with torch.no_grad():
            expected = torch.sigmoid(reference(torch.from_numpy(pixels)[None])[0])[0].tolist()
        assert list(classifier.scores_of(pixels).values()) == pytest.approx(expected, abs=1e-4)


def test_folding_the_normalisations_changes_nothing():
    torch.manual_seed(0)
    trained = network.Network(network.architecture(), normalised=True)
    pixels = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    trained(pixels)  # so that the normalisations have seen something
    with torch.no_grad():
        assert torch.allclose(trained.eval()(pixels)[0], trained.fused()(pixels)[0], atol=1e-4)


def test_a_stored_network_can_be_trained_on_from_where_it_was():
    network_, pixels = network.load(network.FOLDER), torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        before = network_(pixels)[0]
        network_.normalise(pixels)
        assert all(layer.normalisation is not None for layer in network_.layers)
        assert torch.allclose(network_.eval()(pixels)[0], before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (28, 28), (2000, 1500)])
def test_a_picture_of_any_size_has_a_score_for_every_label(classifier, shape):
    scores = classifier.scores_of(np.full((*shape, 3), 200, np.uint8))
    assert tuple(scores) == classifier.labels == LABELS
    assert all(0 <= score < classifier.threshold for score in scores.values())


def test_as_a_safety_check_it_scores_the_subject_s_pixels(classifier):
    pixels = np.asarray(Image.open(SAMPLES[0]).convert("RGB"))
    assert classifier.scores(Subject(pixels, file_sha256="", picture="")) == classifier.scores_of(pixels)


def test_the_classifier_stays_small():
    assert (network.FOLDER / WEIGHTS).stat().st_size < 1_000_000


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_no_sample_picture_is_called_a_card(classifier, file):
    scores = classifier.scores_of(np.asarray(Image.open(file).convert("RGB")))
    assert max(scores.values()) < classifier.threshold


@needs_fonts
def test_held_out_cards_are_recognised_and_customer_pictures_are_not(classifier):
    found = evaluate.outcomes(classifier, 25, 1, [IDENTITY, BANK, *FAMILIES])
    for label in LABELS:
        assert evaluate.recall(found, label, classifier.threshold).value >= 0.8
        assert evaluate.precision(found, label, classifier.threshold).value >= 0.95
    wrong = evaluate.wrongly_called(found, classifier.threshold)
    assert sum(wrong[family].count for family in FAMILIES) == 0


def outcome(kind, scores, unseen=False):
    return evaluate.Outcome(kind, 0, KINDS[kind], unseen, dict(zip(LABELS, scores, strict=True)))


def test_shares_are_counted_at_the_threshold():
    found = [
        outcome(IDENTITY, (0.9, 0.1)), outcome(IDENTITY, (0.4, 0.1), unseen=True), outcome(BANK, (0.6, 0.8)),
        outcome("ticket", (0.1, 0.5)), outcome("ticket", (0.1, 0.4)),
    ]  # fmt: skip
    assert evaluate.precision(found, IDENTITY, 0.5) == evaluate.Share(1, 2)
    assert evaluate.recall(found, IDENTITY, 0.5) == evaluate.Share(1, 2)
    assert evaluate.recall(found, IDENTITY, 0.5, unseen=True) == evaluate.Share(0, 1)
    wrong = evaluate.wrongly_called(found, 0.5)
    assert wrong == {IDENTITY: evaluate.Share(0, 2), BANK: evaluate.Share(1, 1), "ticket": evaluate.Share(1, 2)}
    assert "| ticket | 2 | 50.0% (9.5% to 90.5%) |" in evaluate.markdown(found, 0.5)
    assert json.loads(json.dumps(evaluate.as_json(found, 0.5)))["recall"][BANK] == {"count": 1, "of": 1}


def drop_weights(folder):
    (folder / WEIGHTS).unlink()


def drop_config(folder):
    (folder / CONFIG).unlink()


def break_config(folder):
    (folder / CONFIG).write_text("{")


def break_weights(folder):
    (folder / WEIGHTS).write_bytes(b"no tensors")


def change(key, value):
    def spoil(folder):
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | {key: value}))

    return spoil


def drop_tensor(folder):
    tensors = load_file(folder / WEIGHTS)
    del tensors["head.bias"]
    save_file(tensors, folder / WEIGHTS)


def reshape_tensor(folder):
    tensors = load_file(folder / WEIGHTS)
    save_file(tensors | {"head.bias": np.zeros(3, np.float16)}, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (shutil.rmtree, "config.json is missing"),
        (drop_weights, "model.safetensors is missing"),
        (drop_config, "config.json is missing"),
        (break_config, "holds no card classifier"),
        (break_weights, "holds no card classifier"),
        (change("labels", ["cat", "dog"]), "labels must be"),
        (change("threshold", 2), "threshold"),
        (change("surprise", 1), "surprise"),
        (change("convolutions", [{"inputs": 4, "outputs": 8, "stride": 1}]), "what the one before gives"),
        (
            change("convolutions", [{"inputs": 3, "outputs": 8, "stride": 1}]),
            "does not fit config.json at convolutions.0.bias",
        ),
        (drop_tensor, "does not fit config.json at head.bias"),
        (reshape_tensor, "does not fit config.json at head.bias"),
    ],
)
def test_a_folder_that_is_missing_or_misfit_is_refused(folder, spoil, says):
    spoil(folder)
    with pytest.raises(ValueError, match=says) as refusal:
        CardClassifier.load(folder)
    assert "python -m demo.cards.train" in str(refusal.value)
    assert str(folder) in str(refusal.value)
