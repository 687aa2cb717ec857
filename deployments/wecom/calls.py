"""Calls to WeCom's own addresses: JSON there and back, bounded in time and size, no secret in any message."""

import json
from dataclasses import dataclass
from typing import Any

import httpx2

from deployments.errors import RequestError
from deployments.wecom.json_envelope import read_json
from deployments.wecom.secrets import redacted

TIMEOUT_S = 10.0
MOST_ANSWER_BYTES = 1024 * 1024
JSON_TYPE = {"content-type": "application/json; charset=utf-8"}


class CallFailed(Exception):
    """No answer that could be read. ``sent``: the request may have reached its goal."""

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(redacted(message))
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, headers in lower case, and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def as_json(self) -> dict[str, Any] | None:
        """The object it is; None for anything else."""
        try:
            return read_json(self.body)
        except RequestError:
            return None


class Calls:
    """The client behind every call; nothing of the machine's environment steers it."""

    def __init__(self, proxy: str | None = None, client: httpx2.AsyncClient | None = None) -> None:
        self._client = client or httpx2.AsyncClient(
            timeout=TIMEOUT_S,
            proxy=proxy,
            trust_env=False,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=64),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(
        self,
        url: str,
        params: dict[str, str],
        most_bytes: int = MOST_ANSWER_BYTES,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Raises CallFailed."""
        return await self._call("GET", url, params, None, most_bytes, headers or {})

    async def post(self, url: str, body: dict[str, Any], params: dict[str, str] | None = None) -> Answer:
        """Raises CallFailed. Chinese goes as it is: ``\\uXXXX`` counts six times against WeCom's limits."""
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        return await self._call("POST", url, params or {}, data, MOST_ANSWER_BYTES, JSON_TYPE)

    async def _call(
        self, method: str, url: str, params: dict[str, str], data: bytes | None, most: int, headers: dict[str, str]
    ) -> Answer:
        try:
            async with self._client.stream(
                method, url, params=params or None, content=data, headers=headers
            ) as response:
                body = b""
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > most:
                        raise CallFailed(f"{method} {url}: the answer is larger than {most} bytes", True)
                return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as fault:
            raise CallFailed(f"{method} {url}: {type(fault).__name__}", False) from fault
        except httpx2.HTTPError as fault:
            raise CallFailed(f"{method} {url}: {type(fault).__name__}", True) from fault
