"""The bot for a long while: ten thousand messages, and whether its memory stays flat and its database bounded.

``python -m benchmarks.wecom_soak [--callbacks 10000] [--a-second 60]`` samples the service's process and its SQLite
file while messages come evenly, with the shortest retention there is. Exits 1 when either goes on growing once rows
have begun to go, or a message is lost.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wecom_peak import ENDS, free_port
from benchmarks.wecom_process import ServiceProcess
from benchmarks.wecom_traffic import Delivery, Ledger, Traffic, ledger, said_by, section, town

USERS = 400
SAMPLE_S = 5.0
RETENTION_S = 60.0
FULL_S = 2 * RETENTION_S + 2 * SAMPLE_S
"""By then as many rows are kept as ever: the oldest have gone, and their removal comes once a minute."""
MOST_GROWTH = 1.15


@dataclass(frozen=True)
class Sample:
    at_s: float
    resident_mb: float
    database_mb: float
    messages: int


@dataclass(frozen=True)
class Soak:
    """What was measured; ``acknowledged`` are callbacks that were answered with 200."""

    ledger: Ledger
    acknowledged: int
    lost: int
    samples: Sequence[Sample]

    def growth(self, name: str) -> float:
        """The greatest value once rows have begun to go, in terms of the greatest until then."""
        before = max(float(getattr(one, name)) for one in self.samples if one.at_s <= FULL_S)
        return max(float(getattr(one, name)) for one in self.samples if one.at_s > FULL_S) / before

    def faults(self) -> list[str]:
        found = [f"{name} grew to {grown:.2f} of what it was" for name in ("resident_mb", "database_mb", "messages")
                 if (grown := self.growth(name)) > MOST_GROWTH]  # fmt: skip
        if self.lost or self.ledger.silent or self.ledger.doubled:
            found.append(
                f"lost {self.lost}, without an answer {len(self.ledger.silent)}, doubled {self.ledger.doubled[:3]}"
            )
        return found

    def __str__(self) -> str:
        rows = [
            f"{one.at_s:5.0f} s  {one.resident_mb:6.1f} MB resident  {one.database_mb:6.1f} MB database  "
            f"{one.messages:6} messages kept"
            for one in self.samples[:: max(1, len(self.samples) // 12)]
        ]
        return "\n".join([*rows, f"{self.acknowledged} callbacks acknowledged, {self.ledger}"])


async def play(callbacks: int, a_second: float, folder: Path) -> Soak:
    port = free_port()
    limits = {"answering": 64, "retention_s": RETENTION_S, "picture_retention_s": RETENTION_S}
    given = section(port, **limits)
    for surface in (given["apps"]["desk"], given["bots"]["shop"], given["sockets"]["line"]):
        surface["remember_s"] = 30.0
    found, file = await town(given), folder / "soak.db"
    found.sim.world.poll_s = 2.0
    process = ServiceProcess(free_port(), json.dumps(given), f"sqlite:///{file}", rate=4 * a_second)
    process.start()
    await asyncio.to_thread(process.wait)
    traffic, began = Traffic(found.sim, [process.url]), time.monotonic()
    samples: list[Sample] = []
    sampling = asyncio.create_task(_sampled(process, file, samples, began))
    try:
        spoken = said_by(USERS, callbacks)
        planned = [Delivery(one, part) for one in spoken for part in range(one.callbacks)]
        await traffic.burst(planned, callbacks / a_second)
        while await _open_messages(process):
            await asyncio.sleep(0.5)
        await found.sim.users.settled()
        world = found.sim.world
        return Soak(ledger(spoken, world.seen), len(world.acknowledged_s), len(traffic.lost), samples)
    finally:
        sampling.cancel()
        await asyncio.to_thread(process.stop)
        await found.close()


async def _sampled(process: ServiceProcess, file: Path, samples: list[Sample], began: float) -> None:
    while True:
        await asyncio.sleep(SAMPLE_S)
        status = await asyncio.to_thread(process.status)
        kept = sum(sum(counts.values()) for counts in status["messages"].values())
        files = (file, file.with_name(f"{file.name}-wal"))
        size_mb = sum(one.stat().st_size for one in files if one.exists()) / 2**20
        samples.append(Sample(time.monotonic() - began, resident_mb(process), size_mb, kept))


def resident_mb(process: ServiceProcess) -> float:
    assert process.process is not None
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


async def _open_messages(process: ServiceProcess) -> bool:
    status = await asyncio.to_thread(process.status)
    return bool({state for counts in status["messages"].values() for state in counts} - set(ENDS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callbacks", type=int, default=10_000)
    parser.add_argument("--a-second", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tuwen-soak-") as folder:
        found = asyncio.run(play(options.callbacks, options.a_second, Path(folder)))
    print(found)
    for fault in found.faults():
        print(f"fault: {fault}")
    return 1 if found.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
