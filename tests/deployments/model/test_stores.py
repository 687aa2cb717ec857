"""What is kept of pictures: within its bounds at every moment, and never worth an answer."""

import pytest
import torch

from deployments.model.stores import TensorStore

from .rows.asking import picture


def of(size):
    return torch.zeros(size, dtype=torch.uint8)


def test_what_was_used_last_stays():
    store = TensorStore(100)
    for key in (b"a", b"b"):
        store.put(key, of(40))
    assert store.get(b"a") is not None
    store.put(b"c", of(40))
    assert [key in store for key in (b"a", b"b", b"c")] == [True, False, True]
    assert store.bytes == 80


def test_a_view_counts_for_all_that_it_keeps_alive():
    store = TensorStore(100)
    store.put(b"a", of(1000)[:10])
    assert b"a" not in store
    store.put(b"b", of(90)[:10])
    assert store.bytes == 90


def test_room_is_made_before_what_needs_it_is_there():
    store, held = TensorStore(100), []
    store.put(b"a", of(80))

    def make():
        held.append(store.bytes)
        return of(60)

    store.keep(b"b", make, 60)
    assert held == [0]
    assert b"b" in store


@pytest.mark.parametrize("fault", [LookupError("?"), torch.OutOfMemoryError("short")])
def test_what_cannot_be_kept_is_gone_without(fault):
    def failing():
        raise fault

    store = TensorStore(100)
    store.keep(b"a", failing, 60)
    assert (len(store), store.bytes) == (0, 0)


def test_a_device_that_fails_is_told_all_the_same():
    def failing():
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    with pytest.raises(torch.AcceleratorError):
        TensorStore(100).keep(b"a", failing, 60)


def test_features_of_pictures_seen_together_are_each_in_memory_of_their_own(vision_model):
    family = vision_model.loaded.take_apart()
    with torch.inference_mode():
        found = family.features([picture(seed, 56, 56 + 28 * seed) for seed in range(5)])
    assert [one.untyped_storage().nbytes() for one in found] == [one.nbytes for one in found]
