"""The bot at peak: bursts of callbacks, many of them repeated, while the model is saturated; and killed on the way.

``python -m benchmarks.wecom_peak [--callbacks 5000] [--users 400] [--store URL] [--replicas 1] [--kill]`` plays WeCom
in this process, the service in others. ``--kill`` sends SIGKILL to each replica in turn in the middle of the bursts.
Prints the counts, and exits 1 when a message was lost, doubled or acknowledged late.
"""

import argparse
import asyncio
import json
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.wecom_process import ServiceProcess
from benchmarks.wecom_traffic import Ledger, Traffic, deliveries, ledger, percentile, said_by, section, town

BURST, BURST_S, EVERY_S = 200, 1.0, 3.0
ENDS = ("answered", "in_doubt", "given_up")
MOST_P99_S = 1.0
MOST_FRAMES_LOST = 20
"""Of each kill: what was on its way to the process that died."""


@dataclass(frozen=True)
class Peak:
    """What is played. ``rate`` is the answers a second of each replica's model."""

    callbacks: int = 5000
    users: int = 400
    store_url: str = ""
    replicas: int = 1
    rate: float = 20.0
    kill: bool = False
    burst: int = BURST
    every_s: float = EVERY_S
    poll_s: float = 2.0
    lease_s: float = 10.0


@dataclass(frozen=True)
class Result:
    """``acknowledged_s`` are seconds of every delivery that was answered, ``states`` of the stored messages.

    ``frames_lost`` are messages of the long connection that died with their connection: nobody acknowledges frames,
    so that WeCom cannot know that it must send one again.
    """

    ledger: Ledger
    deliveries: int
    stored: int
    expected: int
    states: Counter[str]
    sends: dict[str, int]
    acknowledged_s: list[float]
    lost: int
    frames_lost: int
    evictions: int
    took_s: float
    counts: dict[str, int]

    @property
    def p99_s(self) -> float:
        return percentile(self.acknowledged_s, 0.99)

    def faults(self, killed: bool) -> list[str]:
        """What must not be. A kill may leave sends in doubt, and deliveries that it cut short come again."""
        found = []
        if not killed and self.p99_s > MOST_P99_S:
            found.append(f"acknowledged p99 {self.p99_s:.2f} s")
        if self.lost:
            found.append(f"{self.lost} deliveries were never acknowledged")
        if self.stored + self.frames_lost != self.expected or self.frames_lost > (MOST_FRAMES_LOST if killed else 0):
            found.append(f"{self.stored} messages stored of {self.expected}; {self.frames_lost} frames lost")
        if set(self.states) - set(ENDS):
            found.append(f"messages without an end: {dict(self.states)}")
        if self.ledger.doubled:
            found.append(f"{len(self.ledger.doubled)} answers seen more than once: {self.ledger.doubled[:3]}")
        if len(self.ledger.silent) > self.states["in_doubt"] + self.states["given_up"] + self.frames_lost:
            found.append(f"{len(self.ledger.silent)} questions without an answer: {self.ledger.silent[:3]}")
        if self.ledger.held_late:
            found.append(f"{self.ledger.held_late} holding texts after their answer")
        return found

    def __str__(self) -> str:
        took = ", ".join(f"{name} {percentile(self.acknowledged_s, share):.3f}" for name, share in SHARES)
        return (
            f"{self.deliveries} deliveries of {self.expected} messages in {self.took_s:.0f} s; "
            f"acknowledged after {took} s\n"
            f"stored {self.stored}, by state {dict(self.states)}; sends {self.sends}; lost {self.lost}, "
            f"frames lost with their connection {self.frames_lost}\n"
            f"{self.ledger}\nWeCom counted {self.counts}"
        )


SHARES = (("p50", 0.5), ("p99", 0.99), ("longest", 1.0))


async def play(peak: Peak, folder: Path) -> Result:
    """The whole peak, to the last message's end."""
    port = free_port()
    given = section(port, answering=64, lease_s=peak.lease_s)
    found = await town(given)
    world = found.sim.world
    world.poll_s, world.retry_pause_s, world.retries = peak.poll_s, 3.0, 6
    store = peak.store_url or f"sqlite:///{folder}/peak.db"
    processes = [ServiceProcess(free_port(), json.dumps(given), store, peak.rate) for _ in range(peak.replicas)]
    for process in processes:
        process.start()
    await asyncio.gather(*(asyncio.to_thread(process.wait) for process in processes))
    traffic = Traffic(found.sim, [process.url for process in processes])
    began = time.monotonic()
    try:
        spoken = said_by(peak.users, peak.callbacks)
        planned = deliveries(spoken, random.Random(7))
        killer = asyncio.create_task(_killing(peak, processes, len(planned)))
        bursts = [planned[place : place + peak.burst] for place in range(0, len(planned), peak.burst)]
        under_way = []
        for number, burst in enumerate(bursts):
            await asyncio.sleep(max(0.0, began + number * peak.every_s - time.monotonic()))
            under_way.append(asyncio.create_task(traffic.burst(burst, BURST_S)))
        await asyncio.gather(*under_way)
        await killer
        status = await _ended(processes[0])
        await found.sim.users.settled()
        states = Counter[str]()
        for counts in status["messages"].values():
            states.update(counts)
        expected = sum(one.callbacks for one in spoken)
        frames = sum(one.surface == "socket/line" for one in spoken)
        frames_lost = frames - sum(status["messages"].get("socket/line", {}).values())
        return Result(
            ledger(spoken, world.seen), len(planned), sum(states.values()), expected, states, dict(status["sends"]),
            world.acknowledged_s, len(traffic.lost), frames_lost, world.counts["evictions"], time.monotonic() - began,
            dict(world.counts),
        )  # fmt: skip
    finally:
        for process in processes:
            await asyncio.to_thread(process.stop)
        await found.close()


async def _killing(peak: Peak, processes: list[ServiceProcess], planned: int) -> None:
    """Each replica once, spread over the bursts; it is started again at once, as Serve does."""
    if not peak.kill:
        return
    lasts_s = planned / peak.burst * peak.every_s
    for process in processes:
        await asyncio.sleep(lasts_s / (len(processes) + 1))
        await asyncio.to_thread(process.kill)
        process.start()
    await asyncio.gather(*(asyncio.to_thread(process.wait) for process in processes))


async def _ended(process: ServiceProcess, most_s: float = 600.0) -> dict[str, Any]:
    """The status once every message has come to its end, or the time is over."""
    give_up = time.monotonic() + most_s
    while True:
        status = await asyncio.to_thread(process.status)
        open_ones = {state for counts in status["messages"].values() for state in counts} - set(ENDS)
        if not open_ones or time.monotonic() > give_up:
            return status
        await asyncio.sleep(0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callbacks", type=int, default=5000)
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--store", default="", help="a database's URL (default: a new SQLite file)")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--rate", type=float, default=20.0, help="answers a second of each replica's model")
    parser.add_argument("--every", type=float, default=EVERY_S, help="seconds from burst to burst")
    parser.add_argument("--kill", action="store_true", help="SIGKILL each replica once on the way")
    options = parser.parse_args()
    peak = Peak(
        options.callbacks,
        options.users,
        options.store,
        options.replicas,
        options.rate,
        options.kill,
        every_s=options.every,
    )
    with tempfile.TemporaryDirectory(prefix="tuwen-peak-") as folder:
        result = asyncio.run(play(peak, Path(folder)))
    print(result)
    faults = result.faults(peak.kill)
    for fault in faults:
        print(f"fault: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
