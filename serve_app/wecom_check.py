"""``wecom-check``: whether a surface's keys, tokens, address and rights are right, found out by using them once.

Nothing that is asked shows a text to anybody, but for the message that ``--to`` asks for.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from deployments.texts import quoted
from deployments.wecom.callback import SIGNATURES
from deployments.wecom.calls import Answer, CallFailed, Calls
from deployments.wecom.crypto import Crypto
from deployments.wecom.errcodes import told
from deployments.wecom.keys import aes_key_of
from deployments.wecom.secrets import SecretsMissing, with_secrets
from deployments.wecom.settings import AppSettings, BotSettings, RobotSettings, SocketSettings, WecomSettings
from deployments.wecom.sockets.connection import new_id, opened
from deployments.wecom.sockets.protocol import Over, Protocol, Subscribed

ECHO_S = 1.0
"""What WeCom's console gives an address to prove itself."""
KINDS = {"app": "apps", "bot": "bots", "socket": "sockets", "robot": "robots"}
TEST_TEXT = "测试消息：配置正确。"
ADVICE = {
    40001: "copy the app's Secret again",
    40013: "copy the CorpID (企业ID) again",
    60020: "paste this address into the app's 企业可信IP, after its receiving address is set",
    301002: "agent_id is another app's: copy AgentId again",
    48002: "give the app the right to send messages",
    81013: "the user is not in the app's visible range",
    853000: "copy the bot's id and its long connection's Secret again",
    93000: "copy the robot's Webhook address again, or make another robot",
}
STATUSES = {
    401: "the service has another token in its config: restart it with this one",
    400: "the service has another encoding_aes_key or corp_id in its config: restart it with this one",
    403: "put the public name into the Ingress's allowed_hosts",
    404: "the service's config has no surface of this name: restart it with this one",
    502: "the proxy in front does not reach the service",
}


class CannotCheck(Exception):
    """There is nothing to check: no such section, name, or environment."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``ok`` is None for what only somebody else can see."""

    ok: bool | None
    what: str
    detail: str = ""

    def __str__(self) -> str:
        mark = {True: "ok  ", False: "FAIL", None: "--  "}[self.ok]
        return f"{mark} {self.what}" + (f": {self.detail}" if self.detail else "")


def section_of(config: str, environment: Mapping[str, str]) -> WecomSettings:
    """The section of a config's first application that has one, with its secrets. Raises CannotCheck."""
    sections = [one.get("args", {}).get("wecom") for one in yaml.safe_load(config)["applications"]]
    given = next(filter(None, sections), None)
    if given is None:
        raise CannotCheck("the config has no args.wecom")
    try:
        return with_secrets(WecomSettings.model_validate(given), environment)
    except SecretsMissing as fault:
        raise CannotCheck(str(fault)) from fault


def surface_of(settings: WecomSettings, name: str) -> tuple[str, Any]:
    """``kind/name`` and the surface's settings; the kind may be left out where only one has the name."""
    groups = [(kind, getattr(settings, group)) for kind, group in KINDS.items()]
    found = {f"{kind}/{one}": values for kind, group in groups for one, values in group.items()}
    fitting = [surface for surface in found if name in (surface, surface.partition("/")[2])]
    if len(fitting) != 1:
        known = ", ".join(fitting or found) or "none"
        several = "several surfaces are" if fitting else "no surface is"
        raise CannotCheck(f"{several} called {quoted(name)}: name one of {known}")
    return fitting[0], found[fitting[0]]


async def findings(settings: WecomSettings, surface: str, url: str, to: str = "") -> AsyncIterator[Finding]:
    """Everything about the surface, one after another; ``url`` is where the service answers."""
    calls = Calls(settings.endpoints.proxy)
    base, (kind, _, name) = settings.endpoints.qyapi, surface.partition("/")
    try:
        one = getattr(settings, KINDS[kind])[name]
        yield Finding(True, "the config's section", "every field is well-formed, every variable is set")
        if isinstance(one, AppSettings):
            async for finding in _of_app(calls, base, one, to):
                yield finding
        if isinstance(one, AppSettings | BotSettings):
            yield await _address(Calls(), f"{url}/wecom/{surface}", one)
        elif isinstance(one, SocketSettings):
            yield await _connection(Calls(), settings, surface, one, url)
        elif isinstance(one, RobotSettings):
            yield await _robot(calls, one)
    finally:
        await calls.close()


async def _of_app(calls: Calls, base: str, app: AppSettings, to: str) -> AsyncIterator[Finding]:
    params = {"corpid": app.corp_id, "corpsecret": app.secret.get_secret_value()}
    answer = await _asked(calls, f"{base}/cgi-bin/gettoken", params)
    yield _judged("CorpID and Secret", answer, "WeCom gives a token for them")
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if not token:
        return
    agent = {"access_token": token, "agentid": str(app.agent_id)}
    yield _judged("trusted address", await _asked(calls, f"{base}/cgi-bin/getcallbackip", {"access_token": token}),
                  "WeCom takes calls from this machine")  # fmt: skip
    yield _judged("AgentId and rights", await _asked(calls, f"{base}/cgi-bin/agent/get", agent),
                  f"agent {app.agent_id} is the Secret's app")  # fmt: skip
    if to:
        body = {"touser": to, "msgtype": "text", "agentid": app.agent_id, "text": {"content": TEST_TEXT}}
        yield _judged(f"a message to {to}", await _asked(calls, f"{base}/cgi-bin/message/send", agent, body), "sent")
    else:
        yield Finding(None, "a message to a user", "not tried: add --to USERID, and look whether it arrives")


async def _address(calls: Calls, address: str, surface: AppSettings | BotSettings) -> Finding:
    """As WeCom's console does when the address is saved."""
    key = aes_key_of(surface.encoding_aes_key.get_secret_value())
    receiver = surface.corp_id if isinstance(surface, AppSettings) else ""
    echo, nonce = secrets.token_hex(8).encode(), secrets.token_hex(5)
    sealed = Crypto(surface.token.get_secret_value(), key, receiver).seal(echo, str(int(time.time())), nonce)
    query = {SIGNATURES[0]: sealed.signature, "timestamp": sealed.timestamp, "nonce": nonce, "echostr": sealed.encrypt}
    began = time.monotonic()
    try:
        answer = await calls.get(address, query)
    except CallFailed:
        return Finding(False, "receiving address", f"nobody answers at {address}: start the service, or give --url")
    finally:
        await calls.close()
    return _echoed(answer, echo, address, time.monotonic() - began)


def _echoed(answer: Answer, echo: bytes, address: str, took_s: float) -> Finding:
    what = "receiving address, Token and EncodingAESKey"
    if answer.status != 200:
        advice = STATUSES.get(answer.status, "is that this service, and nothing in front of it changes the address?")
        return Finding(False, what, f"{address} answers with {answer.status}: {advice}")
    if answer.body != echo:
        text = "does not answer with the bare text: what stands in front of the service?"
        return Finding(False, what, f"{address} {text}")
    if took_s > ECHO_S:
        return Finding(False, what, f"{address} takes {took_s:.1f} s: WeCom waits for one second")
    return Finding(True, what, f"{address} proves to be the bot's in {1000 * took_s:.0f} ms")


async def _connection(calls: Calls, settings: WecomSettings, surface: str, bot: SocketSettings, url: str) -> Finding:
    """As the service has it; where none runs, one of our own for a moment. Two would evict each other."""
    what = "bot id and Secret"
    try:
        answer = await calls.get(f"{url}/wecom/status", {})
    except CallFailed:
        return await _subscribed(settings, bot)
    finally:
        await calls.close()
    known = ((answer.as_json or {}).get("surfaces") or {}).get(surface)
    if known is None:
        return Finding(None, what, f"a service answers at {url} and does not say how its connection is: not tried")
    return Finding(bool(known.get("ok")), what, f"the service at {url}: {known.get('detail', '')}")


async def _subscribed(settings: WecomSettings, bot: SocketSettings) -> Finding:
    what, endpoints = "bot id and Secret", settings.endpoints
    protocol = Protocol(bot.bot_id, bot.secret.get_secret_value(), bot.heartbeat_s, new_id)
    async with opened(endpoints.sockets, endpoints.proxy, protocol, bot.heartbeat_s) as found:
        if isinstance(found, Over):
            return Finding(False, what, f"{endpoints.sockets} cannot be reached: {found.detail}")
        async for meaning in found.meanings():
            if isinstance(meaning, Subscribed):
                return Finding(True, what, "WeCom takes the subscription")
            if isinstance(meaning, Over):
                return Finding(False, what, _advised(meaning.code, meaning.detail or meaning.why.value))
    return Finding(False, what, "the connection ended without an answer")


async def _robot(calls: Calls, robot: RobotSettings) -> Finding:
    """An empty text is refused, after the address has been found good: nobody sees anything."""
    answer = await _asked(calls, robot.url.get_secret_value(), {}, {"msgtype": "text", "text": {"content": ""}})
    if isinstance(answer, dict) and answer.get("errcode") in (93000, 93004, 93008):
        return _judged("the robot's address", answer, "")
    if isinstance(answer, dict):
        return Finding(True, "the robot's address", "WeCom knows it; what the group shows, only the group can tell")
    return Finding(False, "the robot's address", answer)


async def _asked(
    calls: Calls, url: str, params: dict[str, str], body: dict[str, Any] | None = None
) -> dict[str, Any] | str:
    """The answer, or why there is none."""
    try:
        answer = await (calls.get(url, params) if body is None else calls.post(url, body, params or None))
    except CallFailed as fault:
        return f"no answer: {fault}; is the network's proxy needed (endpoints.proxy)?"
    return answer.as_json or f"HTTP {answer.status}, which is no answer of WeCom's"


def _judged(what: str, answer: dict[str, Any] | str, good: str) -> Finding:
    if isinstance(answer, str):
        return Finding(False, what, answer)
    code = answer.get("errcode", -1)
    if code == 0:
        lost = next((name for name in ("invaliduser", "unlicenseduser") if answer.get(name)), "")
        detail = f"{lost}: not delivered: check the app's visible range, and the user's licence" if lost else good
        return Finding(not lost, what, detail)
    return Finding(False, what, _advised(code, told(code, str(answer.get("errmsg", "")))))


def _advised(code: int, text: str) -> str:
    return f"{text}; {ADVICE[code]}" if code in ADVICE else text


def report(settings: WecomSettings, surface: str, url: str, to: str) -> list[Finding]:
    """All findings, printed as they come."""

    async def collected() -> list[Finding]:
        found = []
        async for finding in findings(settings, surface, url, to):
            print(finding, flush=True)
            found.append(finding)
        return found

    return asyncio.run(collected())
