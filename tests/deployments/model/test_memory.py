"""Whether a replica fits its share of a GPU: the 9B's figures, what a misfit is told, and the arithmetic as measured."""

import gc
import re
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import torch
import yaml
from torch.profiler import ProfilerActivity, profile
from transformers import Glm46VConfig

from benchmarks.gpu_engine import TEXT, VISION
from deployments.model import footprint, memory
from deployments.model.loading import load
from deployments.model.memory import MIB, Misfit
from deployments.model.pixels import PatchLayout
from deployments.model.rows.cache import RowCache
from deployments.model.rows.engine import RowEngine
from deployments.model.settings import ModelSettings, RowSettings

from .rows.asking import picture, request_to
from .rows.stepping import Stepped

ROOT = Path(__file__).resolve().parents[3]
LAYOUT = PatchLayout(14, 2, 2, (0.5,) * 3, (0.5,) * 3, 1 / 255)
GLM_9B = Glm46VConfig(text_config=TEXT, vision_config=VISION)
BF16 = torch.bfloat16
WITHIN = 0.03


def shape_of(quantization="nf4", **rows):
    return memory.shape_of(GLM_9B, LAYOUT, RowSettings(**rows), BF16, quantization)


@pytest.fixture(scope="module")
def glm_9b():
    return shape_of(length=4096)


def settings_of(**rows):
    return ModelSettings(rows=RowSettings(length=4096, bucket=512, **rows))


def needed(shape, **rows):
    return memory.need(shape, RowSettings(length=4096, bucket=512, **rows), BF16)


def test_a_token_of_a_row_costs_what_the_reference_says(glm_9b):
    assert glm_9b.kv.bytes_per_token(BF16) == 40 * 1024


@pytest.mark.parametrize(("quantization", "gigabytes"), [("nf4", 8.5), ("none", 20.6)])
def test_the_weights_of_the_9b_are_what_the_reference_says(quantization, gigabytes):
    assert shape_of(quantization).weights / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_sixteen_rows_of_the_9b_in_nf4_take_about_14_gb(glm_9b):
    told = needed(glm_9b)
    assert told.rows == pytest.approx(2.7e9, rel=0.02)
    assert 13e9 < told.total < 15e9


CARDS = {"24gb": 23.6, "48gb": 44.4, "80gb": 79.1}
"""GiB that torch tells of an A10, an L40S and an H100."""


@pytest.mark.parametrize("card", CARDS)
def test_each_config_s_replicas_fit_their_card(card):
    text = (ROOT / "configs" / f"glm-4.6v-flash-{card}.yaml").read_text()
    settings = ModelSettings.model_validate(yaml.safe_load(text)["applications"][0]["args"]["model"])
    shape = shape_of(**settings.rows.model_dump())
    told = memory.need(shape, settings.rows, BF16)
    memory.check(told, int(CARDS[card] * 2**30 * settings.gpu_fraction), settings, shape.kv, BF16)
    assert f"sum        {told.total / 1e9:.1f}   of" in text


def test_what_lies_outside_of_torch_s_allocator_is_not_given_to_it(monkeypatch):
    given = []
    card = type("Card", (), {"total_memory": 40_000 * MIB})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: given.append(share))
    settings = ModelSettings(gpu_fraction=0.5)
    memory.cap(torch.device("cuda"), settings)
    assert given[0] * 40_000 * MIB == pytest.approx(20_000 * MIB - memory.outside(settings.rows))
    assert memory.outside(settings.rows) == memory.OUTSIDE + 160 * memory.GRAPH  # 5 numbers of rows, 32 of columns


def test_what_fits_is_taken(glm_9b):
    memory.check(needed(glm_9b), 24 * 1024 * MIB, settings_of(), glm_9b.kv, BF16)


def test_a_misfit_is_told_by_how_much_and_what_to_lower(glm_9b):
    told = needed(glm_9b, rows=32)
    share = told.total - 1000 * MIB
    with pytest.raises(Misfit) as refused:
        memory.check(told, share, settings_of(rows=32), glm_9b.kv, BF16)
    message = str(refused.value)
    assert "1000 MB too much" in message
    assert f"weights {glm_9b.weights / MIB:.0f} MB" in message
    assert "set args.model.rows.rows to 25" in message  # seven rows of 160 MB
    assert "gpu_fraction to 0.5" in message
    assert needed(glm_9b, rows=25).total <= share


def test_where_not_even_one_row_fits_it_says_so():
    shape = shape_of("none")
    with pytest.raises(Misfit, match="quantization: nf4"):
        memory.check(needed(shape), 12 * 1024 * MIB, settings_of(), shape.kv, BF16)


def tensors_alive():
    """Bytes of the storages that any tensor stands on, by their address."""
    gc.collect()
    alive = [
        thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor) and thing.device.type == "cpu"
    ]
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in alive}


def allocated_at_most(work):
    """Bytes that torch's allocator has given out at a time, by its own account."""
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(accumulate(sizes))


@pytest.mark.parametrize(("quantization", "dtype"), [("none", "float32"), ("nf4", "bfloat16")])
def test_the_arithmetic_is_what_the_demo_checkpoint_takes(quantization, dtype):
    checkpoint = str(ROOT / "demo" / "checkpoint")
    settings = ModelSettings(checkpoint=checkpoint, device="cpu", quantization=quantization, dtype=dtype)
    rows, before = settings.rows, tensors_alive()
    loaded = load(settings)
    family = loaded.take_apart()
    weights = sum(size for address, size in tensors_alive().items() if address not in before)
    cache = RowCache(family.kv_shape, rows.rows, rows.length, loaded.dtype, loaded.device)
    with torch.inference_mode():
        footprint.largest_prefill(family, cache, rows)  # the first one packs quantized weights anew
    vision = allocated_at_most(lambda: footprint.largest_vision(family, rows))
    prefill = allocated_at_most(lambda: footprint.largest_prefill(family, cache, rows))

    shape = memory.shape_of(loaded.model.config, loaded.layout, rows, loaded.dtype, quantization)
    told = memory.need(replace(shape, dequantized=0), rows, loaded.dtype, on_gpu=False)
    assert weights == pytest.approx(told.weights, rel=WITHIN)
    assert cache.kv.untyped_storage().nbytes() == told.rows
    assert vision == pytest.approx(told.vision, rel=WITHIN)
    assert prefill == pytest.approx(told.steps, rel=WITHIN)


def test_the_stores_hold_what_was_told_while_a_picture_is_kept_too(vision_model):
    """Room is made before what needs it is."""
    loaded, rows = vision_model.loaded, RowSettings(rows=4, length=128, prefix_store_mb=1, feature_store_mb=1)
    engine = RowEngine(loaded, rows)
    most = []
    for store in (engine.batch.features, engine.batch.prefiller.prefixes):
        real = store.put
        store.put = lambda key, tensor, real=real, store=store: (real(key, tensor), most.append(store.bytes))
    save = engine.batch.cache.save

    def saved(row, length):
        kept = save(row, length)
        most.append(engine.batch.prefiller.prefixes.bytes + kept.untyped_storage().nbytes())
        return kept

    engine.batch.cache.save = saved
    asked = [request_to(loaded, "what?", (picture(seed, 112, 140),), max_new_tokens=1) for seed in range(60)]
    assert all(future.result(timeout=60) for future in [engine.submit(request) for request in asked])
    engine.close()
    assert 0.8 * MIB < max(most) <= MIB


def test_what_is_on_its_way_into_rows_is_no_more_than_was_told(vision_model):
    loaded = vision_model.loaded
    rows = RowSettings(rows=16, length=128, prefill_tokens=48, prefix_store_mb=0, feature_store_mb=0)
    stepped = Stepped(loaded, rows)
    futures = [
        stepped.submit(request_to(loaded, "what? " * (n % 9), (picture(n, 56 + 28 * (n % 5), 84),), max_new_tokens=9))
        for n in range(30)
    ]
    most = 0
    while any(stepped.batch.load()):
        stepped.step()
        held = [s.embeddings for s in stepped.batch.running if s.embeddings is not None]
        held += [feature for s in (*stepped.batch.waiting, *stepped.batch.running) for feature in s.features.values()]
        most = max(most, sum(len(tensor) for tensor in held))
    assert all(future.result(timeout=0) for future in futures)
    assert 100 < most <= memory.tokens_on_their_way(rows)


class Told:
    """A meter that reads what it is told."""

    def __init__(self, held, *peaks):
        self._held, self._peaks = held, list(peaks)

    def held(self):
        return self._held

    def peak(self, work):
        work()
        return self._peaks.pop(0)


def test_measured_the_sum_is_what_the_device_says_and_no_row_is_left_dirty(vision_model):
    loaded, settings = vision_model.loaded, ModelSettings(rows=RowSettings(rows=4, length=64, prefill_tokens=32))
    family = loaded.take_apart()
    shape = memory.shape_of(loaded.model.config, loaded.layout, settings.rows, loaded.dtype, "none")
    cache = RowCache(family.kv_shape, 4, 64, loaded.dtype, loaded.device)
    before = memory.need(shape, settings.rows, loaded.dtype)
    held = before.rows + before.graphs + 1000 * MIB
    found = memory.measured(before, family, cache, settings.rows, Told(held, 70 * MIB, 50 * MIB))
    assert found == replace(before, weights=1000 * MIB, steps=70 * MIB, vision=50 * MIB)
    assert not cache.kv[..., :64, :].any()
    with pytest.raises(Misfit, match="weights 1000 MB"):
        memory.check(found, 1100 * MIB, settings, shape.kv, loaded.dtype)


def test_at_start_the_log_has_the_measured_sum_and_a_replica_that_takes_more_is_refused(
    vision_model, monkeypatch, caplog
):
    """As on a GPU, by a meter of a card that there is none of."""
    loaded = replace(vision_model.loaded, device=torch.device("cuda"))
    settings = ModelSettings(rows=RowSettings(rows=4, length=64, prefill_tokens=32, bucket=64))
    family = vision_model.loaded.take_apart()
    cache = RowCache(family.kv_shape, 4, 64, loaded.dtype, torch.device("cpu"))
    monkeypatch.setattr(memory, "share_of", lambda *_: 4000 * MIB)
    caplog.set_level("INFO", "ray.serve")
    memory.check_fit(loaded, settings)
    monkeypatch.setattr(memory, "CudaMeter", lambda _: Told(1000 * MIB, 70 * MIB, 50 * MIB))
    memory.check_measured(loaded, family, cache, settings)
    assert "of 4000 MB at its fullest, as measured: weights 1000 MB" in caplog.text
    assert "a step 70 MB, vision 50 MB" in caplog.text
    left = 4000 - int(re.search(r"memory: (\d+) MB", caplog.text)[1])
    more = int(re.search(r"(\d+) rows more would fit", caplog.text)[1])
    assert more * cache.kv[:, 0].nbytes / MIB == pytest.approx(left, abs=1)
    monkeypatch.setattr(memory, "CudaMeter", lambda _: Told(1000 * MIB, 3000 * MIB, 50 * MIB))
    with pytest.raises(Misfit, match="a step 3000 MB"):
        memory.check_measured(loaded, family, cache, settings)
