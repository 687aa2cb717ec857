"""Knobs of a running replica: a bad change is told and changes nothing."""

import logging

import pytest

from deployments.ingress.settings import IngressKnobs
from deployments.knobs import KnobsRefused, LiveKnobs
from deployments.preprocess.settings import PreprocessKnobs


@pytest.fixture
def knobs():
    live = LiveKnobs("Preprocessor", PreprocessKnobs)
    live.take({"max_pixels": 1000})
    return live


BAD = [
    ({"max_pixels": -5}, "Preprocessor: max_pixels: Input should be greater than or equal to 1, got -5"),
    ({"max_pixel": 5}, "Preprocessor: max_pixel: there is no such knob"),
    ({"safety": {"threshold": 7}}, "Preprocessor: safety.threshold: "),
    ({"formats": ["TIFF"]}, "Preprocessor: formats.0: "),
    (None, "Preprocessor: "),
    ([1], "Preprocessor: "),
    ({"max_pixels": "x" * 10_000}, "Preprocessor: max_pixels: "),
]  # fmt: skip


@pytest.mark.parametrize(("config", "told"), BAD, ids=[str(row[0])[:40] for row in BAD])
def test_a_bad_change_leaves_the_old_values_and_says_field_and_value(knobs, config, told, caplog):
    before = knobs.present
    with caplog.at_level(logging.ERROR, "ray.serve"):
        knobs.take(config)
    assert knobs.present is before
    assert knobs.rejected[0].startswith(told)
    assert len(knobs.rejected[0]) < 300
    assert knobs.rejected[0] in caplog.text


def test_a_good_change_after_a_bad_one_is_in_force_and_the_refusal_forgotten(knobs):
    knobs.take({"max_pixels": -5})
    knobs.take({"max_pixels": 7})
    assert (knobs.present.max_pixels, knobs.rejected) == (7, ())


def test_a_first_config_that_cannot_be_read_ends_the_replica_s_start():
    with pytest.raises(KnobsRefused, match="Preprocessor: max_pixels: "):
        LiveKnobs("Preprocessor", PreprocessKnobs).take({"max_pixels": -5})


def test_what_may_be_a_secret_is_not_told():
    live = LiveKnobs("Ingress", IngressKnobs)
    live.take({})
    live.take({"api_key_sha256": ["plain-secret"]})
    assert "plain-secret" not in live.rejected[0]
    assert live.rejected[0].startswith("Ingress: api_key_sha256.0: ")
