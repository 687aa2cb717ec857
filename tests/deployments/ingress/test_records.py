"""What is remembered: the newest, by tenant and id."""

import asyncio
from dataclasses import replace

from deployments.ingress.records import MemoryRecords, Record, Timing

RECORD = Record("alice", "1", 1000.0, 200, "model", Timing(0, 1, 2, 3, 6))


def remembered(capacity: int, *records: Record) -> MemoryRecords:
    store = MemoryRecords(capacity)
    for record in records:
        asyncio.run(store.put(record))
    return store


def got(store: MemoryRecords, tenant: str, request_id: str) -> Record | None:
    return asyncio.run(store.get(tenant, request_id))


def test_a_record_is_its_tenant_s_alone():
    other = replace(RECORD, tenant="mallory", status=400)
    store = remembered(10, RECORD, other)
    assert got(store, "alice", "1") == RECORD
    assert got(store, "mallory", "1") == other
    assert got(store, "eve", "1") is None


def test_no_choice_of_ids_makes_two_tenants_one():
    store = remembered(
        10, replace(RECORD, tenant="a", request_id="b/c"), replace(RECORD, tenant="a/b", request_id="c", status=400)
    )
    assert got(store, "a", "b/c").status == 200
    assert got(store, "a/b", "c").status == 400
    assert got(store, "a", "b") is None


def test_the_newest_stay():
    store = remembered(2, *(replace(RECORD, request_id=str(number)) for number in range(4)))
    assert [got(store, "alice", str(number)) is not None for number in range(4)] == [False, False, True, True]


def test_a_record_that_is_written_again_is_new():
    first, second, third = (replace(RECORD, request_id=str(number)) for number in range(3))
    store = remembered(2, first, second, replace(first, status=500), third)
    assert got(store, "alice", "0").status == 500
    assert got(store, "alice", "1") is None


def test_records_take_no_more_memory_than_they_may():
    store = MemoryRecords(10_000, most_bytes=20_000)
    for number in range(100):
        asyncio.run(store.put(replace(RECORD, request_id=f"{number} {'x' * 120}")))
    kept = [number for number in range(100) if got(store, "alice", f"{number} {'x' * 120}")]
    assert 10 < len(kept) < 50
    assert kept == list(range(100 - len(kept), 100))
