"""The sizes of GLM-4V-9B: the reference's figures for the real shapes, and what torch really gives out for the tiny."""

from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import torch
import yaml
from torch.profiler import ProfilerActivity, profile

from deployments.model import footprint, memory
from deployments.model.families.glm4v9b.config import ChatGlmConfig
from deployments.model.families.glm4v9b.pixels import SquareLayout
from deployments.model.loading import load
from deployments.model.rows.cache import RowCache
from deployments.model.settings import ModelSettings, RowSettings

from . import tiny
from .test_checkpoint import PUBLISHED

ROOT = Path(__file__).resolve().parents[4]
CONFIG = ChatGlmConfig.from_dict(PUBLISHED)
LAYOUT = SquareLayout.of(CONFIG.eyes)
BF16 = torch.bfloat16
CARDS = {"12gb": 11.6, "24gb": 23.6, "80gb": 79.1}
"""GiB that torch tells of a 4070, an A10 and an H100."""
WITHIN = 0.05


def shape_of(quantization, settings):
    return memory.shape_of(CONFIG, LAYOUT, settings, BF16, quantization)


@pytest.mark.parametrize(("quantization", "gigabytes"), [("none", 27.8), ("nf4", 15.7), ("nf4+vision", 9.1)])
def test_the_weights_are_what_the_reference_says(quantization, gigabytes):
    shape = shape_of(quantization, RowSettings(rows=4))
    assert shape.weights / 1e9 == pytest.approx(gigabytes, rel=0.01)
    assert shape.kv.bytes_per_token(BF16) == 40 * 1024
    assert shape.dequantized == (0 if quantization == "none" else 2 * 13696 * 4096 * 2)


@pytest.mark.parametrize("card", CARDS)
def test_each_config_s_replicas_fit_their_card(card):
    text = (ROOT / "configs" / f"glm-4v-9b-{card}.yaml").read_text()
    settings = ModelSettings.model_validate(yaml.safe_load(text)["applications"][0]["args"]["model"])
    shape = shape_of(settings.quantization, settings.rows)
    told, share = memory.need(shape, settings.rows, BF16), int(CARDS[card] * 2**30 * settings.gpu_fraction)
    memory.check(told, share, settings, shape.kv, BF16)
    assert f"sum        {told.total / 1e9:.1f}   of {share / 1e9:.1f}: {settings.gpu_fraction:g} of the" in text
    parts = {
        "weights": told.weights, "rows": told.rows, "stores": told.stores, "pictures": told.pictures,
        "a step": told.steps, "vision": told.vision, "graphs": told.graphs, "slack": told.slack, "CUDA": told.outside,
    }  # fmt: skip
    for name, size in parts.items():
        assert f"#   {name:<9}{size / 1e9:>6.1f}   " in text
    assert settings.rows.length > LAYOUT.count + 256


def allocated_at_most(work):
    """Bytes that torch's allocator has given out at a time, by its own account."""
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


@pytest.mark.parametrize(
    ("quantization", "dtype"), [("none", "float32"), ("nf4", "bfloat16"), ("nf4+vision", "bfloat16")]
)
def test_the_arithmetic_is_what_torch_allocates(tmp_path, quantization, dtype):
    """Of a tiny model with a tower as wide as the real one's is for its text: its MLP is what takes most."""
    folder = tiny.write(tmp_path, eyes={"image_size": 560, "num_positions": 1601, "intermediate_size": 1024})
    rows = RowSettings(rows=4, length=512, prefill_tokens=512)
    loaded = load(ModelSettings(checkpoint=str(folder), device="cpu", quantization=quantization, dtype=dtype))
    family = loaded.take_apart()
    cache = RowCache(family.kv_shape, rows.rows, rows.length, loaded.dtype, loaded.device)
    with torch.inference_mode():
        held = sum(tensor.nbytes for tensor in loaded.model.parameters())
        footprint.largest_prefill(family, cache, rows)  # the first one packs quantized weights anew
        footprint.largest_vision(family, rows)
    vision = allocated_at_most(lambda: footprint.largest_vision(family, rows))
    prefill = allocated_at_most(lambda: footprint.largest_prefill(family, cache, rows))
    shape = memory.shape_of(loaded.model.config, loaded.layout, rows, loaded.dtype, quantization)
    told = memory.need(replace(shape, dequantized=0), rows, loaded.dtype, on_gpu=False)
    if quantization == "none":
        assert held == pytest.approx(told.weights, rel=WITHIN)
    assert cache.kv.untyped_storage().nbytes() == told.rows
    assert vision == pytest.approx(told.vision, rel=WITHIN)
    assert prefill == pytest.approx(told.steps, rel=WITHIN)
