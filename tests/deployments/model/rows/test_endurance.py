"""Ten thousand requests of every fate, and faults in one of fifty: no row, no KV and no memory is lost."""

import gc
import logging
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from random import Random

import torch

from deployments.errors import DeadlineExceeded, Overloaded
from deployments.model.rows.engine import RowEngine
from deployments.model.settings import RowSettings

from .asking import picture, request_to
from .faulting import SITES, Fault, Injected

SETTINGS = RowSettings(rows=16, length=128, waiting=1000, prefix_store_mb=1, feature_store_mb=1)
REQUESTS, WARM_UP, LOT = 10_000, 2_000, 100
FAULTS_OF_A_LOT = 2
ALLOWED_GROWTH = 1.02
INJECTED = sorted(site for site in SITES if site not in ("listener", "callback", "look"))


def resident_pages():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_ten_thousand_requests_later_nothing_is_lost(vision_model, caplog, monkeypatch):
    caplog.set_level(logging.ERROR)  # else pytest keeps a record of every failure, and with it what failed
    loaded, rng = vision_model.loaded, Random(0)
    engine = RowEngine(loaded, SETTINGS)
    pictures = [picture(seed, 56, 84) for seed in range(40)]  # more than the stores hold
    fates = dict.fromkeys(("answered", "cancelled", "late", "failed"), 0)

    def submit(number):
        fate = rng.choices(("answered", "cancelled", "late", "failed"), (85, 5, 5, 5))[0]
        shown = (rng.choice(pictures),) if rng.random() < 0.3 else ()
        request = request_to(loaded, f"{number}", shown, beam_width=rng.choice((1, 1, 4)), max_new_tokens=3)
        if fate == "late":
            request = replace(request, deadline=0.0)
        if fate == "failed":
            request = replace(request_to(loaded, "?", (pictures[0],)), pictures=(picture(0, 28, 28),))
        future = engine.submit(request)
        if fate == "cancelled":
            future.cancel()
        return future

    def injected(patched):
        """Two faults anywhere, in some of the next steps."""
        faults = []
        for site in rng.sample(INJECTED, FAULTS_OF_A_LOT):
            kind = rng.choice((Injected, torch.OutOfMemoryError))
            faults.append(Fault(kind("injected"), rng.randrange(1, 6)))
            faults[-1].inject(patched, engine, site)
        return faults

    def outcome(future):
        try:
            assert future.result(timeout=120).finish_reason in ("stop", "length")
        except CancelledError:
            return "cancelled"
        except DeadlineExceeded:
            return "late"
        except (ValueError, Injected, Overloaded):
            return "failed"
        return "answered"

    before = raised = 0
    for first in range(0, REQUESTS, LOT):
        if first == WARM_UP:
            before = resident_pages()
        with monkeypatch.context() as patched:
            faults = injected(patched)
            for future in [submit(number) for number in range(first, first + LOT)]:
                fates[outcome(future)] += 1
        raised += sum(fault.was_raised for fault in faults)
    batch = engine.batch
    assert sum(fates.values()) == REQUESTS
    assert min(fates.values()) > 300
    assert raised > REQUESTS // LOT * FAULTS_OF_A_LOT * 0.7  # of the others what they were to hit came less often
    assert engine.load() == (0, 0)
    assert batch.free == SETTINGS.rows
    assert batch.cache.kv.shape[1] == SETTINGS.rows
    for store in (batch.prefiller.prefixes, batch.features):
        assert 0 < store.bytes <= 2**20
    engine.close()
    assert resident_pages() < before * ALLOWED_GROWTH


def test_no_tensor_outlives_its_request(vision_model):
    loaded = vision_model.loaded
    engine = RowEngine(loaded, RowSettings(rows=4, length=128, prefix_store_mb=0, feature_store_mb=0))

    def tensors_after(requests):
        for number in range(requests):
            engine.submit(request_to(loaded, f"{number}", (picture(number, 56, 56),))).result(timeout=60)
        gc.collect()
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    assert abs(tensors_after(5) - tensors_after(50)) < 10
    engine.close()
