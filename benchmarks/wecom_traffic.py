"""Traffic of a chat platform at peak: who writes what when, its delivery to the bot, and a ledger of what was seen."""

import asyncio
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from benchmarks.wecom_process import answer_to
from serve_app.wecom_sim.app import Simulator
from serve_app.wecom_sim.calling import Callback
from serve_app.wecom_sim.cipher import key_bytes
from serve_app.wecom_sim.command import from_section
from serve_app.wecom_sim.users import Said, xml
from serve_app.wecom_sim.world import Seen

KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
BOT_KEY = "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"
PICTURE = b"\x89PNG\r\n\x1a\n" + b"picture " * 500
MOST_COPIES = 4
HOLDING = "正在为您查询"


def section(port: int, **limits: Any) -> dict[str, Any]:
    """``args.wecom`` of a service beside a simulator at the port: an app, a bot, and a bot with a long connection."""
    base = f"http://127.0.0.1:{port}"
    media = {"ports": [port], "allowed_hosts": ["127.0.0.1"], "private_ranges": {"127.0.0.1": ["127.0.0.1/32"]}}
    app = {"corp_id": "wx5823bf96d3bd56c7", "agent_id": 218, "secret": "s" * 43, "token": "QDG6eK"}
    return {
        "apps": {"desk": app | {"encoding_aes_key": KEY, "pair_window_s": 45.0}},  # a kill parts them for long
        "bots": {"shop": {"token": "hJqcu3uJ9Tn2gXPmxx2w9kkCkCE2EPYo", "encoding_aes_key": BOT_KEY}},
        "sockets": {"line": {"bot_id": "aibBenchmark", "secret": "l" * 43}},
        "limits": {"poll_s": 0.5, **limits},
        "endpoints": {"qyapi": base, "sockets": f"ws://127.0.0.1:{port}", "media": media},
    }


@dataclass(frozen=True)
class Spoken:
    """One question about a picture. An app gets it as two callbacks, the others as one message."""

    surface: str
    user: str
    question: str

    @property
    def callbacks(self) -> int:
        return 2 if self.surface == "app/desk" else 1


@dataclass(frozen=True)
class Delivery:
    """One delivery of one of the callbacks (``part`` 0: the picture, or everything; 1: the question)."""

    spoken: Spoken
    part: int


def said_by(users: int, callbacks: int, sockets_share: float = 0.2) -> list[Spoken]:
    """So many callbacks, of so many users, who take turns; each question is told from every other."""
    found: list[Spoken] = []
    count = 0
    while count < callbacks:
        number = len(found)
        user = number % users
        kind = "socket/line" if user < users * sockets_share else ("app/desk", "bot/shop")[user % 2]
        found.append(Spoken(kind, f"user{user:03}", f"第{number:05}问：订单号是多少？"))
        count += found[-1].callbacks
    return found


def deliveries(spoken: Sequence[Spoken], rng: random.Random) -> list[Delivery]:
    """Every callback once, every fourth up to four times, shuffled within a burst's reach."""
    found: list[tuple[float, Delivery]] = []
    for number, one in enumerate(spoken):
        for part in range(one.callbacks):
            copies = rng.randint(2, MOST_COPIES) if (number * 2 + part) % 4 == 0 and _may_repeat(one) else 1
            found += [(number + rng.uniform(0, 20), Delivery(one, part)) for _ in range(copies)]
    return [delivery for _, delivery in sorted(found, key=lambda pair: pair[0])]


def _may_repeat(spoken: Spoken) -> bool:
    """A long connection repeats nothing."""
    return not spoken.surface.startswith("socket/")


@dataclass
class Traffic:
    """The simulator, and what it sends. ``urls`` are the replicas that callbacks go to in turn."""

    sim: Simulator
    urls: list[str]
    taken: Counter[str] = field(default_factory=Counter)
    lost: list[Delivery] = field(default_factory=list)
    _inner: dict[Delivery, tuple[bytes, str]] = field(default_factory=dict)
    _followed: set[str] = field(default_factory=set)
    _turn: int = 0

    async def burst(self, burst: Sequence[Delivery], within_s: float) -> None:
        """Sends them spread over that time, and returns when each has been answered."""
        gap_s, under_way = within_s / len(burst), []
        began = time.monotonic()
        for number, delivery in enumerate(burst):
            await asyncio.sleep(max(0.0, began + number * gap_s - time.monotonic()))
            under_way.append(asyncio.create_task(self.deliver(delivery)))
        await asyncio.gather(*under_way)

    async def deliver(self, delivery: Delivery) -> None:
        spoken = delivery.spoken
        if spoken.surface.startswith("socket/"):
            await self.sim.users.say(spoken.surface, Said(spoken.user, spoken.question, (PICTURE,)))
            return
        inner, msgid = self._inner.setdefault(delivery, self._written(delivery))
        url, is_app = f"{self._next_url()}/wecom/{spoken.surface}", spoken.surface.startswith("app/")
        known = self.sim.world.apps["desk"] if is_app else self.sim.world.bots["shop"]
        reply = await self.sim.calling.deliver(Callback(url, known.seal, inner, is_app))
        if reply is None:
            self.lost.append(delivery)
        elif reply and msgid not in self._followed:
            self._followed.add(msgid)
            self.sim.users.follow(url, spoken.surface, spoken.user, msgid, reply)

    def _next_url(self) -> str:
        self._turn += 1
        return self.urls[self._turn % len(self.urls)]

    def _written(self, delivery: Delivery) -> tuple[bytes, str]:
        """What is inside the callback, and its msgid: the same each time it is delivered."""
        spoken, msgid = delivery.spoken, str(secrets.randbits(62))
        if spoken.surface == "bot/shop":
            key = key_bytes(self.sim.world.bots["shop"].seal.encoding_aes_key)
            said = Said(spoken.user, spoken.question, (PICTURE,))
            body = self.sim.users.body(
                said, msgid, spoken.surface, "", lambda one: {"url": self.sim.media.post(one, key)}
            )
            return json.dumps(body).encode(), msgid
        fields: dict[str, Any] = {"ToUserName": "wx5823bf96d3bd56c7", "FromUserName": spoken.user, "MsgId": msgid}
        fields |= {"CreateTime": int(self.sim.world.clock()), "AgentID": 218}
        if delivery.part:
            return xml(fields | {"MsgType": "text", "Content": spoken.question}).encode(), msgid
        media = {"PicUrl": self.sim.media.post(PICTURE), "MediaId": self.sim.media.upload(PICTURE)}
        return xml(fields | {"MsgType": "image", **media}).encode(), msgid


@dataclass
class Ledger:
    """What became of the questions, from what users have seen."""

    questions: int
    answered: int
    doubled: list[str]
    silent: list[str]
    held_first: int
    held_late: int

    def __str__(self) -> str:
        return (
            f"{self.questions} questions: {self.answered} answered, {len(self.doubled)} seen more than once, "
            f"{len(self.silent)} without an answer; {self.held_first} had the holding text first, "
            f"{self.held_late} after their answer"
        )


def ledger(spoken: Sequence[Spoken], seen: Sequence[Seen]) -> Ledger:
    """An answer is told by the question that it repeats; streams' unfinished texts are replaced, and no answers."""
    answers: Counter[str] = Counter()
    held: set[str] = set()
    first: dict[str, str] = {}
    for one in seen:
        if one.kind == "say":
            continue
        if one.finished and one.text.startswith("答"):
            answers[one.text.replace("\u200b", "")] += 1
        if one.about:
            first.setdefault(one.about, one.text)
            if HOLDING in one.text:
                held.add(one.about)
    late = sum(HOLDING not in first[about] for about in held)
    expected = [answer_to(one.question) for one in spoken]
    doubled = [text for text in expected if answers[text] > 1]
    silent = [text for text in expected if not answers[text]]
    return Ledger(len(spoken), len(spoken) - len(silent), doubled, silent, len(held) - late, late)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass
class Town:
    """The simulator at a port of its own, serving on the running loop."""

    sim: Simulator
    server: uvicorn.Server
    task: "asyncio.Task[None]"

    async def close(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        await self.task
        await self.sim.calling.close()


async def town(given: dict[str, Any]) -> Town:
    """The simulator of the section's WeCom, up."""
    settings = from_section_values(given)
    sim, host, port = from_section(settings, "http://127.0.0.1:1", {"req-ids-die"})
    config = uvicorn.Config(sim.app, host, port, log_level="error", ws="websockets-sansio", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    return Town(sim, server, task)


def from_section_values(given: dict[str, Any]) -> dict[str, Any]:
    """The section with every default, in plain values."""
    from deployments.wecom.secrets import plain_values
    from deployments.wecom.settings import WecomSettings

    found: dict[str, Any] = plain_values(WecomSettings.model_validate(given))
    return found
