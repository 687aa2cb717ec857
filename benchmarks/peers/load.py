"""The load: so many clients, each of which asks its next question as soon as it has its answer.

A process of its own (``python -m benchmarks.peers.load``) that takes a ``Load`` as JSON on stdin and prints a
``Record`` as JSON. Counting begins with an answer once the ramp is over and as many answers as clients have come, and
ends with the first one after the given seconds; clients ask on until then, and what is under way is waited for.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from benchmarks.peers.dialects import DIALECTS
from benchmarks.peers.questions import Asked
from benchmarks.process_costs import PROC, Seen, busy_s, cpu_s_by_role, tree

TIMEOUT_S = 180
STAT = PROC / "stat"


@dataclass(frozen=True, slots=True)
class Load:
    """``root`` is the service's first process, whose tree's CPU time is counted."""

    url: str
    dialect: str
    root: int
    clients: int
    ramp_s: float
    seconds: float
    questions: list[Asked]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one question: the answer, or in ``fault`` why there is none."""

    expected: str
    kind: str
    ms: float
    answer: str = ""
    fault: str = ""
    stages_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """The replies that came within ``seconds``, with the CPU seconds of the service's roles and of this process."""

    seconds: float
    replies: list[Reply]
    cpu_s: dict[str, float]
    client_cpu_s: float
    others_cpu_s: float
    """What all other processes of the machine took meanwhile."""


@dataclass(slots=True)
class Window:
    """The time in which replies count. ``look`` sees the service's processes and how busy the machine has been.

    Where questions end before counting begins, as they do when all are refused at once, all replies count.
    """

    clients: int
    ramp_s: float
    seconds: float
    look: Callable[[], tuple[list[Seen], float]]
    clock: Callable[[], float] = time.perf_counter
    created: float = 0.0
    began: float | None = None
    ended: float | None = None
    early: list[Reply] = field(default_factory=list)
    counted: list[Reply] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    busy_s: float = 0.0
    own_cpu_s: float = 0.0
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.created = self.clock()

    def take(self, reply: Reply) -> None:
        now = self.clock()
        if self.ended is not None:
            return
        if self.began is None:
            self.early.append(reply)
            if now - self.created >= self.ramp_s and len(self.early) >= self.clients:
                self.began, self.own_cpu_s = now, time.process_time()
                self.seen, self.busy_s = self.look()
            return
        self.counted.append(reply)
        if now - self.began >= self.seconds:
            self.close()

    def close(self) -> None:
        """With the last reply that counts, or when there is nothing more to ask."""
        if self.began is not None and self.ended is None:
            self.ended = self.clock()
            seen, busy_s = self.look()
            self.spent, self.busy_s = cpu_s_by_role(self.seen, seen), busy_s - self.busy_s
            self.own_cpu_s = time.process_time() - self.own_cpu_s

    def record(self) -> Record:
        if self.began is None or self.ended is None:
            return Record(self.clock() - self.created, self.early, {}, 0.0, 0.0)
        others = self.busy_s - sum(self.spent.values()) - self.own_cpu_s
        return Record(self.ended - self.began, self.counted, self.spent, self.own_cpu_s, max(0.0, others))


async def drive(clients: int, sending: Iterator[Callable[[], Awaitable[Reply]]], window: Window) -> None:
    """Keep ``clients`` questions under way until the window closes or nothing is left to ask."""

    async def client() -> None:
        while window.ended is None and (send := next(sending, None)) is not None:
            window.take(await send())
        window.close()

    await asyncio.gather(*(client() for _ in range(clients)))


def reply_of(asked: Asked, response: httpx.Response, ms: float, answer: Callable[[Any], str]) -> Reply:
    """A reply's answer, or as its fault the status with the first words of the body."""
    try:
        body = response.json() if response.status_code == 200 else {}
        stages = {name: value for name, value in (body.get("timing_ms") or {}).items() if value is not None}
        return Reply(asked.expected, asked.kind, ms, answer(body), stages_ms=stages)
    except (ValueError, KeyError, IndexError, TypeError):
        return Reply(asked.expected, asked.kind, ms, fault=f"{response.status_code} {response.text[:200]}")


async def run(load: Load) -> Record:
    dialect = DIALECTS[load.dialect]
    limits = httpx.Limits(max_connections=load.clients, max_keepalive_connections=load.clients)
    async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, trust_env=False) as http:
        url = load.url + dialect.path
        ready = [(asked, await _built(http, url, dialect.content(asked))) for asked in load.questions]

        async def send(asked: Asked, request: httpx.Request) -> Reply:
            began = time.perf_counter()
            try:
                response = await http.send(request)
            except httpx.HTTPError as fault:
                return Reply(asked.expected, asked.kind, _ms_since(began), fault=repr(fault))
            return reply_of(asked, response, _ms_since(began), dialect.answer)

        window = Window(load.clients, load.ramp_s, load.seconds, lambda: (tree(load.root), busy_s(STAT.read_text())))
        sending = ((lambda asked=asked, request=request: send(asked, request)) for asked, request in ready)
        await drive(load.clients, sending, window)
    return window.record()


async def _built(http: httpx.AsyncClient, url: str, content: dict[str, Any]) -> httpx.Request:
    """Encoded before anything is timed."""
    request = http.build_request("POST", url, **content)
    await request.aread()
    return request


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1e3


def load_from(data: dict[str, Any]) -> Load:
    questions: Sequence[dict[str, str]] = data["questions"]
    return Load(**data | {"questions": [Asked(**question) for question in questions]})


def record_from(data: dict[str, Any]) -> Record:
    return Record(**data | {"replies": [Reply(**reply) for reply in data["replies"]]})


if __name__ == "__main__":
    json.dump(asdict(asyncio.run(run(load_from(json.load(sys.stdin))))), sys.stdout, ensure_ascii=False)
