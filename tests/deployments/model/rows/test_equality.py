"""The row engine answers, token for token, what ``model.generate`` answers to each request alone, in float32."""

import json
import time
from itertools import product
from pathlib import Path
from statistics import median

import pytest

from demo import scene
from deployments.model.engine import Decoding, EngineRequest
from deployments.model.prompt import PromptWriter
from deployments.model.rows.engine import RowEngine
from deployments.model.settings import RowSettings
from deployments.model.vision_model import VisionModel, prepared

from .asking import ending_in, picture, request_to

SETTINGS = RowSettings(rows=16, length=256, collapse=False)
SAMPLES = Path(__file__).resolve().parents[4] / "demo" / "samples"
INDEX = json.loads((SAMPLES / "samples.json").read_text())
WIDTHS = (1, 2, 3, 4, 5)
SEARCHES = [(1, 1.0, False), *product(WIDTHS[1:], (0.6, 1.0, 1.4), (False, True))]


def eos_of(loaded, alone):
    """Three tokens that answers really contain, so that hypotheses end early, late and never."""
    texts = [alone(loaded, request_to(loaded, f"question {n}", (picture(n),), max_new_tokens=20)) for n in range(3)]
    return sorted({text.token_ids[place] for text, place in zip(texts, (7, 11, 15), strict=True)})


@pytest.mark.parametrize(("beam_width", "length_penalty", "early_stopping"), SEARCHES)
def test_an_answer_is_that_of_generate(loaded, alone, beam_width, length_penalty, early_stopping):
    loaded = ending_in(loaded, eos_of(loaded, alone))
    search = {"beam_width": beam_width, "length_penalty": length_penalty, "early_stopping": early_stopping}
    shown = [(), (picture(0),), (picture(1, 56, 224),), (picture(2), picture(3, 84, 56))]
    requests = [request_to(loaded, f"question {n}", p, max_new_tokens=24, **search) for n, p in enumerate(shown)]
    engine = RowEngine(loaded, SETTINGS)
    futures = [engine.submit(request) for request in requests]
    for request, future in zip(requests, futures, strict=True):
        ours, theirs = future.result(timeout=60), alone(loaded, request)
        assert (ours.token_ids, ours.finish_reason) == (theirs.token_ids, theirs.finish_reason)
        assert ours.level == theirs.level
    engine.close()


def test_requests_of_all_kinds_at_once(loaded, alone):
    loaded = ending_in(loaded, eos_of(loaded, alone))
    kinds = product((1, 4, 2, 1, 3), (8, 17, 31))
    requests = [
        request_to(
            loaded, f"{n}" * n, (picture(n, 56 + 28 * (n % 3)),) if n % 4 else (), beam_width=w, max_new_tokens=m
        )
        for n, (w, m) in enumerate(kinds)
    ]
    engine = RowEngine(loaded, SETTINGS)
    answers = [future.result(timeout=120) for future in [engine.submit(request) for request in requests]]
    assert [answer.token_ids for answer in answers] == [alone(loaded, request).token_ids for request in requests]
    assert engine.load() == (0, 0)
    engine.close()


@pytest.mark.parametrize("beam_width", WIDTHS)
def test_on_the_demo_checkpoint_too(demo, alone, beam_width):
    """Its tokenizer, its answers' real lengths, and a large picture as overview and tiles."""
    loaded = demo.loaded
    shown = [prepared(SAMPLES / entry["file"], scene.KNOBS) for entry in INDEX]
    writer = PromptWriter(loaded.tokenizer, loaded.model.config.image_token_id)
    requests = []
    for entry, tiles in zip(INDEX, shown, strict=True):
        counts = [height * width // 784 for height, width in tiles.sizes]
        prompt = writer.write(entry["questions"][0], counts, tiles.places)
        requests.append(EngineRequest(prompt, tiles.pixels, Decoding(40, beam_width)))
    engine = RowEngine(loaded, RowSettings(rows=16, collapse=False))
    answers = [future.result(timeout=120) for future in [engine.submit(request) for request in requests]]
    assert [answer.token_ids for answer in answers] == [alone(loaded, request).token_ids for request in requests]
    engine.close()


@pytest.fixture(scope="module")
def demo():
    model = VisionModel.from_pretrained(SAMPLES.parent / "checkpoint")
    model.close()
    return model


def test_the_first_token_of_a_second_question_takes_a_quarter_of_the_first_one_s_time(demo):
    """Of one picture: its vision and the most of its prompt are there already."""
    engine = RowEngine(demo.loaded)
    writer = PromptWriter(demo.loaded.tokenizer, demo.loaded.model.config.image_token_id)

    def first_token_s(text, pixels):
        prompt = writer.write(text, [pixels.shape[0] * pixels.shape[1] // 784])
        began = time.perf_counter()
        engine.submit(EngineRequest(prompt, (pixels,), Decoding(1))).result(timeout=60)
        return time.perf_counter() - began

    pictures = [picture(seed, 504, 504) for seed in range(12)]
    first = [first_token_s("运单号是多少？", pixels) for pixels in pictures]
    second = [first_token_s("收件人是谁？", pixels) for pixels in pictures]
    assert median(second[2:]) <= median(first[2:]) / 4
    engine.close()


@pytest.mark.parametrize("prefill_tokens", [7, 64])
def test_a_prompt_taken_in_by_chunks_is_answered_as_in_one(loaded, alone, prefill_tokens):
    settings = RowSettings(rows=6, length=256, collapse=False, prefill_tokens=prefill_tokens)
    engine = RowEngine(loaded, settings)
    requests = [request_to(loaded, "a" * 9 * n, (picture(n),), beam_width=1 + n % 3) for n in range(5)]
    answers = [future.result(timeout=60) for future in [engine.submit(request) for request in requests]]
    assert [answer.token_ids for answer in answers] == [alone(loaded, request).token_ids for request in requests]
    engine.close()


@pytest.mark.parametrize("beam_width", [1, 4])
def test_a_second_question_about_a_picture_is_answered_as_without_the_first(loaded, alone, beam_width):
    requests = [
        request_to(loaded, text, (picture(5),), beam_width=beam_width) for text in ("first", "another one", "x")
    ]
    with_store, without = (
        RowEngine(loaded, RowSettings(rows=8, length=256, prefix_store_mb=mb, feature_store_mb=mb)) for mb in (8, 0)
    )
    for request in requests:
        expected = alone(loaded, request).token_ids
        assert with_store.submit(request).result(timeout=60).token_ids == expected
        assert without.submit(request).result(timeout=60).token_ids == expected
    assert with_store.batch.prefiller.prefixes.hits == 2
    with_store.close()
    without.close()
