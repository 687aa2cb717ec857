"""The shell around the protocol: one WebSocket, its reader, its heartbeats, and commands that wait for an answer."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.protocol import State as WebSocketState

from deployments.wecom.sockets.frames import PUSH, RESPOND, Frame, written
from deployments.wecom.sockets.protocol import (
    NOT_SUBSCRIBED,
    Acknowledged,
    Meaning,
    Over,
    Protocol,
    State,
    Subscribed,
    Why,
)

OPEN_S = 10.0
SUBSCRIBE_S = 10.0
CLOSE_S = 1.0
ANSWER_S = 5.0
MOST_FRAME_BYTES = 4 * 1024 * 1024
TICKS = 4
"""Looks at the clock in one heartbeat's time."""


class NotSent(Exception):
    """There is no connection to send over."""


class Unconfirmed(Exception):
    """It was sent, and nobody knows whether it has arrived."""


class Connection:
    """A connection that has been opened. ``meanings`` ends with an Over; ``ask`` works once it is subscribed."""

    def __init__(self, socket: ClientConnection, protocol: Protocol, heartbeat_s: float) -> None:
        self._socket, self._protocol, self._tick_s = socket, protocol, heartbeat_s / TICKS
        self._waiting: dict[str, tuple[str, asyncio.Future[Frame]]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._opened_at = time.monotonic()
        self.subscribed_at: float | None = None

    async def meanings(self) -> AsyncGenerator[Meaning]:
        """Everything that happens, to the end. Heartbeats go out, and answers to their askers, on the way."""
        try:
            await self._socket.send(self._protocol.opened())
            while True:
                meaning = await self._next()
                if isinstance(meaning, Acknowledged):
                    meaning = self._told(meaning.frame) or meaning
                if isinstance(meaning, Subscribed):
                    self.subscribed_at = time.monotonic()
                yield meaning
                if isinstance(meaning, Over):
                    return
        except ConnectionClosed as closed:
            yield Over(Why.CLOSED, f"closed with {closed.rcvd.code if closed.rcvd else 'nothing'}")
        finally:
            for _, future in self._waiting.values():
                if not future.done():
                    future.set_exception(Unconfirmed("the connection has ended"))

    async def ask(self, command: str, req_id: str, body: dict[str, Any]) -> Frame:
        """The acknowledgement. One at a time for a request id. Raises NotSent, Unconfirmed."""
        turn = self._turns.setdefault(req_id, asyncio.Lock())
        async with turn:
            if self._protocol.state is not State.SUBSCRIBED or self._socket.state is not WebSocketState.OPEN:
                raise NotSent("the connection is not subscribed")
            future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
            self._waiting[req_id] = command, future
            try:
                await self._socket.send(written(command, req_id, body))
                async with asyncio.timeout(ANSWER_S):
                    return await future
            except TimeoutError as late:
                raise Unconfirmed("no acknowledgement") from late
            except ConnectionClosed as closed:
                raise Unconfirmed("the connection has ended") from closed
            finally:
                del self._waiting[req_id]

    @property
    def lasted_s(self) -> float | None:
        """Since the subscription's acknowledgement; None without one."""
        return None if self.subscribed_at is None else time.monotonic() - self.subscribed_at

    async def _next(self) -> Meaning:
        while True:
            now = time.monotonic()
            due = self._protocol.due(now)
            if isinstance(due, Over):
                return due
            if due is not None:
                await self._socket.send(due)
            if self.subscribed_at is None and now > self._opened_at + SUBSCRIBE_S:
                return Over(Why.UNANSWERED, "the subscription has no acknowledgement")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tick_s):
                    text = await self._socket.recv()
                return self._protocol.received(text, time.monotonic())

    def _told(self, frame: Frame) -> Over | None:
        """Hands the answer to whoever waits for it; the end, where it says that the subscription is forgotten.

        The same code is the answer to what the bot may not do: only commands that every bot may send are judged by it.
        """
        command, future = self._waiting.get(frame.req_id, ("", None))
        if future is not None and not future.done():
            future.set_result(frame)
        forgotten = frame.code == NOT_SUBSCRIBED and command in (RESPOND, PUSH)
        return Over(Why.UNSUBSCRIBED, "WeCom has forgotten the subscription", NOT_SUBSCRIBED) if forgotten else None


@asynccontextmanager
async def opened(
    url: str, proxy: str | None, protocol: Protocol, heartbeat_s: float
) -> AsyncIterator[Connection | Over]:
    """The connection, closed at the end; an Over where there is none to be had."""
    try:
        socket = await connect(
            url, proxy=proxy, open_timeout=OPEN_S, close_timeout=CLOSE_S, ping_interval=None,
            max_size=MOST_FRAME_BYTES, user_agent_header=None,
        )  # fmt: skip
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as fault:
        yield Over(Why.UNREACHABLE, type(fault).__name__)
        return
    try:
        yield Connection(socket, protocol, heartbeat_s)
    finally:
        await socket.close()


def new_id() -> str:
    return secrets.token_hex(16)
