"""What was seen, second by second; and a burst, one at a time."""

import asyncio
from pathlib import Path

import pytest

from deployments.contract import Flow, Level, Load
from deployments.errors import Overloaded
from deployments.ingress.burst import MOST, Bursts, Sample
from deployments.ingress.fleet import Fleet
from deployments.ingress.traffic import REMEMBERED_S, Traffic

SAMPLE = Sample(Path(__file__).parents[3] / "demo" / "samples" / "order-1.png", "订单号？")


class Place:
    def __init__(self):
        self.now, self.fleet = 1000.5, Fleet()
        self.traffic = Traffic(self.fleet, lambda: self.now)


def test_a_second_has_its_counts_and_the_most_that_was_seen_in_it():
    place = Place()
    place.fleet.heard(Load(4, 9, Level.FAST, "a", 16, 16, 0.1, 0.5, 2.5), place.now)
    place.traffic.count("offered")
    place.fleet.heard(Load(4, 0, Level.FAST, "a", 16, 4, 0.1, 0.5, 0.0), place.now)
    with place.traffic.admitted():
        place.traffic.count("fast")
    (second,) = place.traffic.seconds()
    assert {name: second[name] for name in ("at", "offered", "admitted", "fast", "holding")} == {
        "at": 1000, "offered": 1, "admitted": 1, "fast": 1, "holding": 0,
    }  # fmt: skip
    assert (second["queue_age_s"], second["rows_used"], second["rows"], second["replicas"]) == (2.5, 16, 16, 1)
    assert second["level"] == "fast"


def test_rates_are_of_whole_seconds_lately():
    place = Place()
    for _ in range(10):
        for _ in range(3):
            place.traffic.count("offered")
        place.now += 1
    assert place.traffic.now()["per_s"]["offered"] == 3.0
    place.now += 60
    assert place.traffic.now()["per_s"]["offered"] == 0.0


def test_five_minutes_are_remembered():
    place = Place()
    for _ in range(REMEMBERED_S + 50):
        place.traffic.count("offered")
        place.now += 1
    seconds = place.traffic.seconds()
    assert len(seconds) == REMEMBERED_S
    assert place.traffic.seconds(since=seconds[-2]["at"]) == seconds[-2:]


def sent(count: int, of: list[Sample]):
    async def scene():
        asked = []

        async def ask(one):
            asked.append(one)

        bursts = Bursts(ask, lambda: 0.0)
        count_sent = bursts.send(of, count, Flow("tenant"), over_s=0.0)
        with pytest.raises(Overloaded):
            bursts.send(of, 1, Flow("tenant"))
        await bursts._under_way
        for one in asked:
            one.image.close()
        bursts.send(of, 0, Flow("tenant"))  # the first one is over
        return count_sent, asked

    return asyncio.run(scene())


def test_a_burst_s_questions_are_all_different_and_its_sender_s():
    count, asked = sent(20, [SAMPLE])
    assert count == len(asked) == 20
    assert len({(one.text, one.max_new_tokens) for one in asked}) == 20
    assert {one.flow for one in asked} == {Flow("tenant", "burst")}


def test_a_burst_is_bounded_and_without_samples_there_is_none():
    assert sent(0, [])[0] == 0
    assert MOST <= 1000
