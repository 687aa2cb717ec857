"""A fault at every allocation and callback of a step: it stays with whoever it is of, and nothing else is changed."""

from dataclasses import replace

import pytest
import torch

from deployments.contract import Level
from deployments.errors import Overloaded
from deployments.model.families.family import Family
from deployments.model.rows import decode
from deployments.model.rows.cache import RowCache
from deployments.model.rows.engine import RowEngine
from deployments.model.rows.prefill import Prefiller
from deployments.model.settings import RowSettings
from deployments.model.stores import TensorStore

from .asking import picture, request_to
from .faulting import SITES, Fault, Injected

SETTINGS = RowSettings(rows=8, length=160, prefill_tokens=96, collapse=False, prefix_store_mb=2, feature_store_mb=1)
FAULTS = {"an error": Injected, "no memory": torch.OutOfMemoryError}

WAVES = (
    ((1, 9, 0), (4, 7, 1), (2, 11, 2), (3, 5, 3), (1, 3, None), (4, 6, None)),
    ((2, 8, 0), (1, 12, 1), (4, 5, 2), (1, 6, 3), (3, 10, None)),
)
"""(beams, tokens, picture): the second lot asks about the pictures of the first."""

ITS_OWN = {
    "an error": {"features", "reorder", "extend", "answer", "tokenizer", "look", "listener"},
    "no memory": {"extend", "answer", "tokenizer", "look", "listener"},
}
"""Sites that are one request's and visited once: whose is hit fails. All others are tried again, or nobody's."""


@pytest.fixture(scope="module")
def loaded(vision_model):
    return vision_model.loaded


@pytest.fixture(scope="module")
def waves(loaded):
    return [
        [
            request_to(loaded, f"question {n}", () if shown is None else (picture(shown, 56, 84),),
                       beam_width=width, max_new_tokens=tokens)
            for n, (width, tokens, shown) in enumerate(wave)
        ]
        for wave in WAVES
    ]  # fmt: skip


@pytest.fixture
def expected(loaded, waves, alone, known):
    """What ``generate`` answers to each of them alone."""
    if not known:
        known.extend(alone(loaded, request).token_ids for wave in waves for request in wave)
    return known


@pytest.fixture(scope="module")
def known():
    return []


@pytest.fixture
def engine(loaded):
    engine = RowEngine(loaded, SETTINGS)
    yield engine
    engine.close()


def answered(engine, waves, listen=lambda ids: None, called=lambda future: None):
    """The futures of all, lot after lot; every one is done."""
    futures = []
    for wave in waves:
        lot = [engine.submit(replace(request, on_tokens=listen)) for request in wave]
        for future in lot:
            future.add_done_callback(called)
            future.exception(timeout=60)
        futures += lot
    return futures


def check(engine, waves, futures, expected):
    """Returns what the failed ones failed with: the others are right, and nothing of any is left."""
    requests, failed = [request for wave in waves for request in wave], []
    for request, future, right in zip(requests, futures, expected, strict=True):
        if (fault := future.exception()) is not None:
            failed.append(fault)
            continue
        answer = future.result()
        assert answer.token_ids == right
        assert answer.level == (Level.FULL if request.decoding.beam_width > 1 else Level.FAST)
    assert engine._thread.is_alive()
    engine.check()
    again = engine.submit(requests[3])
    assert again.result(timeout=60).token_ids == expected[3]
    batch = engine.batch
    assert engine.load() == (0, 0)
    assert batch.free == SETTINGS.rows
    batch._tenancy.clean()
    assert not batch.cache.kv[:, :, :, : SETTINGS.length].any()
    for store in (batch.features, batch.prefiller.prefixes):
        assert store.bytes == sum(tensor.untyped_storage().nbytes() for tensor in store._tensors.values())
    return failed


@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("site", SITES)
def test_a_fault_anywhere_costs_at_most_the_request_that_it_is_of(engine, waves, expected, monkeypatch, site, kind, at):
    fault = Fault(FAULTS[kind]("injected"), at)
    fault.inject(monkeypatch, engine, site)
    parts = {site: fault.watch(lambda *_: None)} if not SITES[site](engine) else {}
    futures = answered(engine, waves, parts.get("listener", print), parts.get("callback", lambda _: None))
    assert fault.was_raised
    failed = check(engine, waves, futures, expected)
    assert len(failed) == (site in ITS_OWN[kind])
    assert all(isinstance(one, Injected if kind == "an error" else Overloaded) for one in failed)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("guilty", [1, 2, 4])
@pytest.mark.parametrize("site", ["embed", "hidden", "logits", "propose", "to host", "spread", "prefill mask"])
def test_whose_work_fails_every_time_fails_alone(engine, waves, expected, monkeypatch, site, guilty, kind):
    """However many are worked on together with it."""
    at_work, raised = [], []

    def noted(real):
        def work(first, worked_on, *more):
            group = worked_on if isinstance(worked_on, list) else [worked_on]
            at_work[:] = [sequence.request.prompt for sequence in group]
            try:
                return real(first, worked_on, *more)
            finally:
                at_work.clear()

        return work

    def watch(real):
        def watched(*arguments, **more):
            if any(prompt is waves[0][guilty].prompt for prompt in at_work):
                raised.append(site)
                raise FAULTS[kind]("injected")
            return real(*arguments, **more)

        return watched

    for owner, name in ((Prefiller, "begin"), (Prefiller, "run"), (decode, "step")):
        monkeypatch.setattr(owner, name, noted(getattr(owner, name)))
    for owner, name in SITES[site](engine):
        monkeypatch.setattr(owner, name, watch(getattr(owner, name)))
    futures = answered(engine, waves)
    assert raised
    [failed] = check(engine, waves, futures, expected)
    assert futures[guilty].exception() is failed
    assert isinstance(failed, Injected if kind == "an error" else Overloaded)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_listener_or_a_callback_raises_the_thread_goes_on(engine, waves, expected, kind):
    fault = Fault(kind("injected"), 1)
    futures = answered(engine, waves, listen=fault.watch(print))
    [failed] = check(engine, waves, futures, expected)
    assert isinstance(failed, RuntimeError)  # handed on as it is, it would end whoever asked
    fault = Fault(kind("injected"), 1)
    futures = answered(engine, waves, called=fault.watch(print))
    assert fault.was_raised
    assert check(engine, waves, futures, expected) == []


def test_the_sites_are_all_that_a_step_visits_of_the_rows_and_of_the_model():
    """A new one has to be added to the list. Of the model, what a step only asks within ``look``, or never, is not."""

    def calls(kind):
        return {name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}

    assert calls(Family) - {"tokens", "largest"} | calls(RowCache) <= set(SITES)
    assert calls(TensorStore) == {"get", "put", "make_room", "keep", "clear"}
