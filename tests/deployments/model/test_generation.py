"""A checkpoint's generation config: both engines answer as the knobs say, and what else it asks for is told at start."""

import json
import logging
import shutil

import pytest
from transformers import GenerationConfig

from deployments.checkpoints import CheckpointError
from deployments.model import generation
from deployments.model.checkpoint import inspect
from deployments.model.loading import load
from deployments.model.reference import ReferenceEngine
from deployments.model.rows.engine import RowEngine
from deployments.model.settings import ModelSettings, RowSettings
from serve_app.cli import main

from .rows.asking import picture, request_to

SAMPLED = {"do_sample": True, "temperature": 0.8, "top_p": 0.6, "top_k": 2}  # as GLM's are published

TOLD = {
    **SAMPLED,
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "encoder_repetition_penalty": 1.2,
    "encoder_no_repeat_ngram_size": 2,
    "exponential_decay_length_penalty": [4, 1.5],
    "length_penalty": 0.0,
    "early_stopping": "never",
    "num_beams": 3,
    "max_new_tokens": 3,
    "max_length": 4096,
    "max_time": 1e-9,
    "renormalize_logits": True,
    "remove_invalid_values": True,
}
REFUSED = {
    "bad_words_ids": [[70]],
    "suppress_tokens": [70],
    "begin_suppress_tokens": [70],
    "forced_bos_token_id": 70,
    "forced_eos_token_id": 70,
    "sequence_bias": [[[70], 5.0]],
    "stop_strings": ["a"],
    "min_length": 200,
    "min_new_tokens": 9,
    "guidance_scale": 1.5,
    "watermarking_config": {"bias": 2.5},
    "token_healing": True,
}


@pytest.fixture
def publishing(checkpoint, tmp_path):
    """A function that makes the checkpoint one whose generation config has these fields too."""

    def publish(**fields):
        folder = tmp_path / "published"
        shutil.copytree(checkpoint, folder)
        path = folder / generation.GENERATION
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
        return folder

    return publish


def answers(loaded):
    """Of both engines, greedily and with beams."""
    engines = ReferenceEngine(loaded), RowEngine(loaded, RowSettings(rows=4, length=256, collapse=False))
    requests = [
        request_to(loaded, f"question {n}", (picture(n),), beam_width=width) for n in range(3) for width in (1, 4)
    ]
    told = [[engine.submit(request).result(timeout=60).token_ids for request in requests] for engine in engines]
    for engine in engines:
        engine.close()
    return told


@pytest.fixture(scope="module")
def plain(vision_model):
    reference, rows = answers(vision_model.loaded)
    assert reference == rows
    return rows


@pytest.mark.parametrize("name", TOLD)
def test_what_is_not_in_force_changes_no_engine_s_answer_and_is_told(publishing, plain, caplog, name):
    fields = {**SAMPLED, name: TOLD[name]} if name in SAMPLED else {name: TOLD[name]}
    folder = publishing(**fields)
    inspect(folder)
    with caplog.at_level(logging.WARNING, "ray.serve"):
        loaded = load(ModelSettings(checkpoint=str(folder)))
    assert f"{name}: {TOLD[name]}" in caplog.text
    assert str(folder) in caplog.text
    assert answers(loaded) == [plain, plain]


@pytest.mark.parametrize("name", REFUSED)
def test_what_answers_cannot_do_without_is_refused_by_field_and_value(publishing, name):
    folder = publishing(**{name: REFUSED[name]})
    for look in (inspect, lambda folder: load(ModelSettings(checkpoint=str(folder)))):
        with pytest.raises(CheckpointError, match=rf"{generation.GENERATION}.* sets {name}: "):
            look(folder)


def test_the_same_is_refused_of_a_checkpoint_that_is_not_looked_at_as_files():
    fields = GenerationConfig(suppress_tokens=[70]).to_dict()
    with pytest.raises(CheckpointError, match=r"glm/hub sets suppress_tokens: \[70\]"):
        generation.check(fields, "glm/hub")


def test_nothing_is_told_of_what_says_nothing(publishing, caplog):
    with caplog.at_level(logging.WARNING, "ray.serve"):
        load(ModelSettings(checkpoint=str(publishing(**generation.DEFAULTS, use_cache=True, suppress_tokens=[]))))
    assert "not in force" not in caplog.text


def test_the_defaults_are_those_of_generate():
    theirs = GenerationConfig._get_default_generation_params()
    assert {name: theirs[name] for name in generation.DEFAULTS if name in theirs} == {
        name: value for name, value in generation.DEFAULTS.items() if name in theirs
    }


def test_every_field_that_transformers_knows_is_of_one_kind():
    """A field of a later version is told until somebody has decided about it."""
    named = [*generation.IN_FORCE, *generation.REFUSED, *generation.WITHOUT_EFFECT]
    assert len(named) == len(set(named))
    told = set(generation.not_in_force(dict.fromkeys(GenerationConfig().to_dict(), "x") | {"do_sample": True}))
    assert told.isdisjoint({*generation.IN_FORCE, *generation.WITHOUT_EFFECT})
    assert told >= {"repetition_penalty", "no_repeat_ngram_size", *generation.SAMPLING} | set(generation.REFUSED) - {
        "forced_decoder_ids"
    }


def test_a_quantized_checkpoint_keeps_what_was_published(publishing, tmp_path):
    folder = publishing(**SAMPLED, repetition_penalty=1.1)
    assert main(["quantize", str(folder), str(tmp_path / "nf4")]) == 0
    kept = json.loads((tmp_path / "nf4" / generation.GENERATION).read_text())
    assert {name: kept[name] for name in SAMPLED} == SAMPLED
    assert (kept["repetition_penalty"], len(kept["eos_token_id"])) == (1.1, 3)
