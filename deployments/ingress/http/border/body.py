"""What a request's body may be: so large, and no slower than so. Looked at while it arrives, before it is parsed."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import BodyTooLarge, BodyTooSlow, RequestError, TooManyUploads
from deployments.ingress.asking import CANCELLED
from deployments.ingress.http.responses import error_response
from deployments.ingress.settings import IngressKnobs

FORM_OVERHEAD_BYTES = 64 * 1024
"""What a multipart body or JSON envelope may add to the picture itself."""
SLOW_AFTER_S, SLOW_BYTES_PER_S = 3.0, 64 * 1024
"""From when on, and below which rate, a body counts as slow: its client may have a number of those and no more."""


class BodyGuard:
    """ASGI middleware: 413 for a body above the limit, 408 for one that stalls or drips, 429 for too many of those.

    The limits are read from the pipeline's knobs at each request, so that they can change on a running service. Time
    counts from the request's arrival, and towards its deadline.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self.app, self._clock = app, clock
        self._slow: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        knobs: IngressKnobs = scope["app"].state.pipeline.knobs
        body = _Body(receive, knobs, self._clock, self._slow, _network_of(scope))
        body.announced(Headers(scope=scope).get("content-length", ""))

        async def send_if_whole(message: Message) -> None:
            if not body.failed:  # parsers turn our exception into an error response of their own
                await send(message)

        try:
            await self.app(scope, body.receive, send_if_whole)
        except Exception:
            if not body.failed:
                raise
        finally:
            body.finished()
        if body.hung_up:
            scope["state"]["error"] = CANCELLED
        elif body.refusal is not None:
            scope["state"]["error"] = body.refusal.code
            # Or the connection would stay, waiting for a body that nobody reads.
            response = error_response(scope["state"]["request_id"], body.refusal)
            response.headers["Connection"] = "close"
            await response(scope, receive, send)


@dataclass(slots=True)
class _Body:
    """One request's body as it arrives; ``refusal`` is why no more of it is taken, ``hung_up`` that no more comes."""

    source: Receive
    knobs: IngressKnobs
    clock: Callable[[], float]
    slow: Counter[str]
    client: str
    refusal: RequestError | None = None
    hung_up: bool = False
    _too_much: bool = False
    _began: float = field(init=False)
    _arrived: int = 0
    _whole: bool = False
    _is_slow: bool = False

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def _limit(self) -> int:
        """Base64, as the OpenAI route takes pictures, needs four bytes for three."""
        return self.knobs.max_body_bytes * 4 // 3 + FORM_OVERHEAD_BYTES

    @property
    def failed(self) -> bool:
        """Whether the application has not got all of it, and its answer is to nothing that was asked."""
        return self.hung_up or self.refusal is not None

    def announced(self, length: str) -> None:
        """A length that says too much is believed, and refused once somebody wants the body: after the key check."""
        self._too_much = length.isdecimal() and (len(length) > 18 or int(length) > self._limit)

    async def receive(self) -> Message:
        if self._too_much and self.refusal is None:
            self.refusal = self._too_large()
        if self.refusal is not None:
            raise self.refusal
        while not self._whole:
            try:
                async with asyncio.timeout(self._patience_s()):
                    message = await self.source()
            except TimeoutError:
                self._judge()  # only now: what has arrived is taken, however late we come to it
                continue
            self._take(message)
            return message
        return await self.source()  # what comes after the body: that the client has gone

    def _take(self, message: Message) -> None:
        self._arrived += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        self.hung_up = message["type"] == "http.disconnect"
        if self._arrived > self._limit:
            raise self._refused(self._too_large())
        if self._whole:
            self.finished()

    def finished(self) -> None:
        """It no longer counts among its client's slow ones."""
        if self._is_slow:
            self._is_slow = False
            self.slow -= Counter((self.client,))

    def _patience_s(self) -> float:
        """Until when nothing need arrive."""
        late_at = self._late_at() - self.clock()
        return max(0.0, late_at if self._is_slow else min(late_at, self._slow_at() - self.clock()))

    def _late_at(self) -> float:
        """When the bytes so far are too few, or the request's deadline passes."""
        paced = self.knobs.body_grace_s + self._arrived / self.knobs.min_body_bytes_per_s
        return self._began + min(paced, self.knobs.request_timeout_s)

    def _slow_at(self) -> float:
        """When the bytes so far make it a slow one."""
        return self._began + SLOW_AFTER_S + self._arrived / SLOW_BYTES_PER_S

    def _judge(self) -> None:
        """Raises the refusal of a body of which no more is to be waited for."""
        if self.clock() >= self._late_at():
            raise self._refused(BodyTooSlow("the request's body arrives too slowly: send it again, or a smaller one"))
        if not self._is_slow and self.clock() >= self._slow_at():
            most = self.knobs.slow_uploads_per_client
            if most and self.slow[self.client] >= most:
                wait_s = self.knobs.retry_after_s
                raise self._refused(
                    TooManyUploads(f"{most} slow uploads of yours are under way: wait for them", wait_s)
                )
            self._is_slow = True
            self.slow[self.client] += 1

    def _too_large(self) -> BodyTooLarge:
        most = self.knobs.max_body_bytes
        return BodyTooLarge(
            f"the request's body is larger than the {most} bytes allowed for a picture: send it smaller"
        )

    def _refused(self, why: RequestError) -> RequestError:
        self.refusal = why
        return why


def _network_of(scope: Scope) -> str:
    """Whom slow bodies are counted for: an IPv4 address, or the /64 that one IPv6 subscriber has all addresses of."""
    host = (scope.get("client") or ("",))[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if address.version == 4:
        return str(address)
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
