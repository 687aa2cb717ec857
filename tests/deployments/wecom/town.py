"""A town for tests: the simulator and the service on ports of their own, talking over real HTTP and WebSockets.

The service is the real application over the real pipeline; only preprocessor and model are replaced, by ones that echo.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn

from deployments.ingress.download.fetch import Fetcher
from deployments.ingress.http.app import create_app
from deployments.ingress.pipeline import Pipeline
from deployments.ingress.records import MemoryRecords
from deployments.ingress.settings import IngressKnobs
from deployments.store.settings import StoreSettings
from deployments.wecom.routes import routers
from deployments.wecom.secrets import plain_values
from deployments.wecom.service import WecomService, wecom_service
from deployments.wecom.settings import WecomSettings
from serve_app.wecom_sim.app import Simulator
from serve_app.wecom_sim.command import from_section
from tests.conftest import free_port
from tests.deployments.ingress.conftest import FakeModel, FakePreprocessor

KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
BOT_KEY = "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"
RELAY_KEY_SHA256 = "64fda9f82bb3e0c6a3d1fbb4b8a1f2f9bf0e0dc5ac6b2ea9d8d2e9e2a0f5c3aa"
JPEG = b"\xff\xd8\xff\xe0" + b"jpeg" * 400
PNG = b"\x89PNG\r\n\x1a\n" + b"png" * 400


def section(port: int, **changed: dict[str, Any]) -> dict[str, Any]:
    """The section of a service beside a simulator at the port."""
    base: dict[str, Any] = {
        "apps": {
            "desk": {
                "corp_id": "wx5823bf96d3bd56c7",
                "agent_id": 218,
                "secret": "s" * 43,
                "token": "QDG6eK",
                "encoding_aes_key": KEY,
                "pair_window_s": 0.4,
                "menu": {"HOURS": "九点到十八点"},
            }
        },
        "bots": {
            "shop": {
                "token": "hJqcu3uJ9Tn2gXPmxx2w9kkCkCE2EPYo",
                "encoding_aes_key": BOT_KEY,
                "bot_name": "看图",
                "pair_window_s": 0.4,
            }
        },
        "sockets": {
            "line": {
                "bot_id": "aibXOfd7AmkLbYaBcQ1234567890",
                "secret": "l" * 43,
                "bot_name": "看图",
                "pair_window_s": 0.4,
                "retake_pause_s": 0.2,
            }
        },
        "robots": {
            "ops": {"url": f"http://127.0.0.1:{port}/cgi-bin/webhook/send?key=693a91f6-7aaa-4bc4-97a0-0ec2caf5aaaa"}
        },
        "limits": {"poll_s": 0.2, "lease_s": 8.0, "stream_patience_s": 1.5},
        "endpoints": {
            "qyapi": f"http://127.0.0.1:{port}",
            "sockets": f"ws://127.0.0.1:{port}",
            "media": {
                "ports": [port],
                "allowed_hosts": ["127.0.0.1"],
                "private_ranges": {"127.0.0.1": ["127.0.0.1/32"]},
            },
        },
    }
    for name, change in changed.items():
        if name in ("limits", "endpoints", "texts"):
            base[name] = base.get(name, {}) | change
        else:
            base[name] = {key: base.get(name, {}).get(key, {}) | one for key, one in change.items()} if change else {}
    return base


@dataclass
class Town:
    """``seen()`` is what somebody has seen, without users' own words."""

    sim: Simulator
    settings: WecomSettings
    store_url: str
    service: WecomService
    pipeline: Pipeline
    model: FakeModel
    preprocessor: FakePreprocessor
    url: str
    servers: list[tuple[uvicorn.Server, "asyncio.Task[None]"]]

    async def restart_wecom(self) -> None:
        """Every connection breaks, and nobody is there for a moment."""
        port = self.servers[0][0].config.port
        await stopped(*self.servers[0])
        self.servers[0] = await serving(self.sim.app, port)

    @property
    def users(self):
        return self.sim.users

    @property
    def world(self):
        return self.sim.world

    def seen(self, **wanted):
        found = [one for one in self.world.seen if one.kind != "say"]
        return [one for one in found if all(getattr(one, name) == value for name, value in wanted.items())]

    def texts(self, **wanted):
        return [one.text for one in self.seen(finished=True, **wanted)]

    async def eventually(self, condition, timeout_s=20.0):
        """Waits for a condition, plain or a coroutine function's."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            assert time.monotonic() < deadline, (
                f"it never came true; seen: {self.seen()}, {await self.service.status()}"
            )
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def replica(self, clock: Callable[[], float] = time.time) -> AsyncIterator[WecomService]:
        """Another replica of the service over the same database, without an address of its own."""
        service = wecom_service(
            self.settings, StoreSettings(url=self.store_url), Path("/nowhere"), self.pipeline, Fetcher(), {}, clock
        )
        service.start()
        try:
            yield service
        finally:
            await service.stop()

    async def all_ended(self):
        """Whether every stored message has come to its end."""
        counts = await self.service.inbox.counts()
        return all(state in ("answered", "in_doubt", "given_up") for states in counts.values() for state in states)


async def serving(app: Any, port: int) -> tuple[uvicorn.Server, "asyncio.Task[None]"]:
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws="websockets-sansio", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server._serve())
    while not server.started:
        assert not task.done(), "the server does not start"
        await asyncio.sleep(0.005)
    return server, task


async def stopped(server: uvicorn.Server, task: "asyncio.Task[None]") -> None:
    server.should_exit = server.force_exit = True
    await task


@asynccontextmanager
async def town(
    store_url: str,
    modes: set[str] | None = None,
    start: bool = True,
    clock: Callable[[], float] = time.time,
    sim_secret: str = "",
    **changed: Any,
) -> AsyncIterator[Town]:
    """The town, up; down again at the end whatever happens."""
    sim_port, port = free_port(), free_port()
    settings = WecomSettings.model_validate(section(sim_port, **changed))
    sim, _, _ = from_section(
        plain_values(settings), f"http://127.0.0.1:{port}", modes if modes is not None else {"req-ids-die"}
    )
    sim.world.clock = clock
    if sim_secret:  # WeCom knows another secret of the bot
        sim.world.sockets["line"] = replace(sim.world.sockets["line"], secret=sim_secret)
    sim.world.poll_s, sim.world.patience_s = 0.05, 5.0
    model, preprocessor = FakeModel(says="答：{}"), FakePreprocessor()
    fetcher = Fetcher()
    pipeline = Pipeline(preprocessor, model, fetcher, MemoryRecords(1000), "tuwen-test")
    pipeline.knobs = IngressKnobs(retry_after_s=0.3)
    service = wecom_service(settings, StoreSettings(url=store_url), Path("/nowhere"), pipeline, fetcher, {}, clock)
    servers = [await serving(sim.app, sim_port), await serving(create_app(pipeline, None, routers(service)), port)]
    if start:
        service.start()
    try:
        yield Town(
            sim, settings, store_url, service, pipeline, model, preprocessor, f"http://127.0.0.1:{port}", servers
        )
    finally:
        await service.stop()
        await sim.calling.close()
        await asyncio.gather(*(stopped(server, task) for server, task in servers))
