"""The load: requests at the times that were drawn, whatever has become of those before, or clients in a closed loop.

A process of its own (``python -m benchmarks.load.generator``) that takes a ``Job`` as JSON on stdin and prints a
``Taken`` as JSON. Times are counted from when a request was to be sent, not from when this process came to it; how far
it was behind is told beside, for then it was itself what was measured.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.load.marking import BOUNDARY
from benchmarks.load.pictures import Shot, shots, standard_fields
from benchmarks.load.wire import Broken, Response, Wire
from benchmarks.peers.questions import Asked

GIVE_UP_S = 60.0
MOST_PAUSE_S = 30.0
"""A client of the closed loop asks again after what it was told, but no later than this."""


@dataclass(frozen=True, slots=True)
class Job:
    """``times`` of an open loop, else ``clients`` of a closed one for ``seconds``, of which ``ramp_s`` do not count.

    ``first`` is the number of the first picture's mark, ``users`` send in turn. ``timeout_s`` is what requests ask for,
    None: what the service does by itself.
    """

    url: str
    asked: list[Asked]
    first: int
    times: list[float]
    timeout_s: float | None
    users: list[str]
    clients: int = 0
    seconds: float = 0.0
    ramp_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a request: ``at`` is when it was to be sent, ``ms`` how long after that its reply was there.

    ``level`` is empty and ``fault`` says why where there was no answer and no holding reply.
    """

    at: float
    behind_ms: float
    ms: float
    level: str
    fault: str
    right: bool
    kind: str
    user: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """All requests of a job, and the CPU seconds of this process for them, or (``process_s``) for all it did.

    ``began`` is seconds since the epoch.
    """

    sent: list[Sent]
    cpu_s: float
    seconds: float
    began: float
    process_s: float = 0.0


def outcome(shot: Shot, response: Response | str, at: float, behind_ms: float, ms: float) -> Sent:
    """``response`` is a word on what went wrong where there is none."""
    level, fault, right, after = "", "", False, None
    if isinstance(response, str):
        fault = response
    elif response.status != 200:
        fault = f"{response.status} {response.body[:120].decode(errors='replace')}"
    else:
        body = json.loads(response.body)
        level, right, after = body["level"], body["answer"] == shot.expected, body.get("retry_after_s")
    return Sent(at, behind_ms, ms, level, fault, right, shot.kind, shot.user, after)


@dataclass(slots=True)
class Gun:
    """Sends shots over one wire, on one clock that begins at ``began``."""

    wire: Wire
    host: str
    began: float

    async def fire(self, shot: Shot, at: float) -> Sent:
        sent_at = self.now
        try:
            async with asyncio.timeout(GIVE_UP_S):
                response: Response | str = await self.wire.send(self._head(len(shot.body)), shot.body)
        except TimeoutError:
            response = f"nothing within {GIVE_UP_S:g} s"
        except Broken as fault:
            response = f"no response: {fault}"
        return outcome(shot, response, at, (sent_at - at) * 1e3, (self.now - at) * 1e3)

    @property
    def now(self) -> float:
        return time.perf_counter() - self.began

    def _head(self, length: int) -> bytes:
        return (
            f"POST /v1/ask HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()


async def open_loop(gun: Gun, times: Sequence[float], ready: Sequence[Shot]) -> list[Sent]:
    """Every shot at its time."""
    firing = []
    for at, shot in zip(times, ready, strict=True):
        if (early := at - gun.now) > 0:
            await asyncio.sleep(early)
        firing.append(asyncio.create_task(gun.fire(shot, at)))
    return await asyncio.gather(*firing)


async def closed_loop(gun: Gun, ready: Iterator[Shot], clients: int, seconds: float) -> list[Sent]:
    """Clients that ask again once they have an answer, or once they have waited as long as they were told to."""
    found: list[Sent] = []

    async def client() -> None:
        while gun.now < seconds and (shot := next(ready, None)) is not None:
            one = await gun.fire(shot, gun.now)
            found.append(one)
            if one.level not in ("full", "fast"):
                await asyncio.sleep(max(0.0, min(one.retry_after_s or 1.0, MOST_PAUSE_S, seconds - gun.now)))

    await asyncio.gather(*(client() for _ in range(clients)))
    return found


async def run(job: Job) -> Taken:
    where = urlsplit(job.url)
    count = len(job.times) or int(job.seconds * 45) + job.clients
    ready = shots(job.asked, count, job.first, standard_fields(job.timeout_s), job.users)
    gc.collect()
    gc.freeze()  # the bodies are not looked through again in the middle of a second
    wire = Wire(where.hostname or "127.0.0.1", where.port or 80)
    spent = time.process_time()
    gun, began = Gun(wire, where.netloc, time.perf_counter()), time.time()
    if job.times:
        sent = await open_loop(gun, job.times, ready)
    else:
        sent = await closed_loop(gun, iter(ready), job.clients, job.seconds)
    await wire.close()
    return Taken(sent, time.process_time() - spent, gun.now, began, time.process_time())


def job_from(data: dict[str, Any]) -> Job:
    return Job(**data | {"asked": [Asked(**one) for one in data["asked"]]})


def taken_from(data: dict[str, Any]) -> Taken:
    return Taken(**data | {"sent": [Sent(**one) for one in data["sent"]]})


if __name__ == "__main__":
    json.dump(asdict(asyncio.run(run(job_from(json.load(sys.stdin))))), sys.stdout, ensure_ascii=False)
