"""Access tokens of apps: one for all replicas, fetched once however many need it, at most once for a failed call."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable

from deployments.store.shared import Leases, StoredToken, Tokens
from deployments.wecom.calls import Calls
from deployments.wecom.errcodes import told

logger = logging.getLogger("ray.serve")

EARLY_S = 120.0
"""A token is replaced so long before it expires: a call under way still ends in time."""
REFUSED_S = 60.0
"""After a refusal nobody asks again for so long: WeCom blocks whoever fails too often for an hour."""
FETCH_S = 15.0
LOOK_AGAIN_S = 0.1


class TokenRefused(Exception):
    """WeCom gives no token; ``code`` is its errcode."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class AccessTokens:
    def __init__(
        self, calls: Calls, base: str, tokens: Tokens, leases: Leases, owner: str, clock: Callable[[], float]
    ) -> None:
        self._calls, self._base, self._tokens, self._leases = calls, base, tokens, leases
        self._owner, self._clock = owner, clock
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._refused: dict[str, tuple[float, TokenRefused]] = {}

    async def get(self, name: str, corp_id: str, secret: str, failed: str | None = None) -> str:
        """A token that is not ``failed``. Raises TokenRefused, CallFailed."""
        async with self._locks[name]:
            until, refusal = self._refused.get(name, (0.0, None))
            if refusal is not None and self._clock() < until:
                raise refusal
            return await self._shared(name, corp_id, secret, failed)

    async def _shared(self, name: str, corp_id: str, secret: str, failed: str | None) -> str:
        """Of several replicas one fetches, and the others find what it fetched."""
        give_up = self._clock() + FETCH_S
        while True:
            known = await self._tokens.get(name)
            if known and known.token != failed and known.expires_at > self._clock():
                return known.token
            if self._clock() >= give_up or await self._leases.take(f"token/{name}", self._owner, FETCH_S):
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        try:
            known = await self._tokens.get(name)  # fetched while the lease was on its way
            if known and known.token != failed and known.expires_at > self._clock():
                return known.token
            return await self._fetch(name, corp_id, secret)
        finally:
            await self._leases.give_back(f"token/{name}", self._owner)

    async def _fetch(self, name: str, corp_id: str, secret: str) -> str:
        params = {"corpid": corp_id, "corpsecret": secret}
        answer = (await self._calls.get(f"{self._base}/cgi-bin/gettoken", params)).as_json or {}
        token = answer.get("access_token")
        if answer.get("errcode", -1) != 0 or not isinstance(token, str):
            code = answer.get("errcode", -1)
            refusal = TokenRefused(code, told(code, str(answer.get("errmsg", ""))))
            self._refused[name] = self._clock() + REFUSED_S, refusal
            logger.error("wecom %s: no access token: %s", name, refusal)
            raise refusal
        lasts_s = float(answer.get("expires_in", 7200))
        await self._tokens.put(name, StoredToken(token, self._clock() + max(lasts_s - EARLY_S, lasts_s / 2)))
        return token
