"""Wait until a service is ready, or learn why it will never be: ``serve run`` stays up on a failed deployment."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serve_app.client import Unreachable, call, is_loopback
from serve_app.exits import one_line

DASHBOARD = "http://127.0.0.1:8265"
POLL_S = 1.0
LOOK_S = 10.0
"""The longest that one look takes."""


class DeploymentFailed(Exception):
    """Serve gave the application up; the message is the deployment's own."""


class KnobsRefused(Exception):
    """The service answers, with old values in place of those in ``refused``."""

    def __init__(self, refused: tuple[str, ...]) -> None:
        super().__init__(
            f"the service runs with the old values: {len(refused)} changed setting"
            f"{' was' if len(refused) == 1 else 's were'} refused"
        )
        self.refused = refused


class NotReady(Exception):
    """The time is over; the message says what was last seen."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look saw: the health of a ready service, or None; and in words what there was."""

    words: str
    health: dict[str, Any] | None = None


def wait(
    url: str,
    dashboard: str | None,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """The service's ``/healthz`` once it is ready and nothing of it is still being deployed.

    Without a ``dashboard``, the usual one is asked, if the service there is the one on the port of ``url``.
    Raises DeploymentFailed, KnobsRefused, NotReady.
    """
    deadline = clock() + timeout_s
    while True:
        seen = _look(url, dashboard, min(LOOK_S, max(1.0, deadline - clock())))
        if seen.health is not None:
            return seen.health
        if clock() >= deadline:
            raise NotReady(f"{url} is not ready after {timeout_s:g} s: {seen.words}")
        sleep(POLL_S)


def _look(url: str, dashboard: str | None, timeout_s: float) -> Seen:
    seen = _health(url, timeout_s)
    serve = _serve(dashboard or DASHBOARD, timeout_s)
    if dashboard is None and not _serves(serve, url):
        serve = {}
    failed = failure(serve)
    if failed is not None:
        raise DeploymentFailed(failed)
    if seen.health is None:
        return seen
    unsettled = _unsettled(serve)
    if unsettled is not None:
        return Seen(unsettled)
    refused = tuple(one_line(line) for line in _strings(seen.health.get("rejected")))
    if refused:
        raise KnobsRefused(refused)
    return seen


def _health(url: str, timeout_s: float) -> Seen:
    try:
        reply = call(f"{url.rstrip('/')}/healthz", timeout_s)
    except Unreachable as nobody:
        return Seen(str(nobody))
    body = reply.body if isinstance(reply.body, dict) else {}
    if body.get("ready") is False:
        return Seen(one_line(body.get("reason") or "the service says that it is not ready"))
    described = all(isinstance(body.get(name), str) for name in ("model", "device", "quantization", "level"))
    if reply.status == 200 and body.get("ready") is True and described:
        return Seen("ready", body)
    return Seen(reply.foreign())


def _serve(dashboard: str, timeout_s: float) -> dict[str, Any]:
    """What Ray's dashboard knows of Serve; nothing while it cannot be asked."""
    try:
        reply = call(f"{dashboard.rstrip('/')}/api/serve/applications/", timeout_s, _token_header())
    except Unreachable:
        return {}
    return reply.body if reply.status == 200 and isinstance(reply.body, dict) else {}


def _serves(serve: dict[str, Any], url: str) -> bool:
    """Whether this Serve listens on the port of ``url``; of an address elsewhere nothing can be said."""
    parts = urlsplit(url)
    port = serve.get("http_options", {}).get("port") if isinstance(serve.get("http_options"), dict) else None
    if port is None or not is_loopback(parts.hostname or ""):
        return True
    return bool(port == (parts.port or (443 if parts.scheme == "https" else 80)))


def _applications(serve: dict[str, Any]) -> list[dict[str, Any]]:
    found = serve.get("applications")
    return [one for one in found.values() if isinstance(one, dict)] if isinstance(found, dict) else []


def failure(serve: dict[str, Any]) -> str | None:
    """Why a deployment failed; None while none has."""
    failed = [one for one in _applications(serve) if one.get("status") == "DEPLOY_FAILED"]
    return failure_message(failed[0]) if failed else None


def _unsettled(serve: dict[str, Any]) -> str | None:
    """What keeps a service that answers from being the one that was deployed; None if nothing does."""
    coming = [one for one in _applications(serve) if one.get("status") == "DEPLOYING"]
    if coming:
        return f"application {one_line(coming[0].get('name', '?'))} is still being deployed"
    proxies = serve.get("proxies")
    states = (
        [one.get("status") for one in proxies.values() if isinstance(one, dict)] if isinstance(proxies, dict) else []
    )
    if states and "HEALTHY" not in states:
        return f"somebody answers, but the HTTP proxy of that Serve is {one_line(states[0])}: its log says why"
    return None


def failure_message(application: dict[str, Any]) -> str:
    """The application's name and the most telling line of its failed deployment's message."""
    deployments = application.get("deployments")
    failed = [
        deployment["message"]
        for deployment in (deployments.values() if isinstance(deployments, dict) else ())
        if deployment.get("status") in ("DEPLOY_FAILED", "UNHEALTHY") and deployment.get("message")
    ]
    message = failed[0] if failed else application.get("message", "")
    return f"application {application.get('name', '?')} failed to deploy: {one_line(root_cause(str(message)))}"


def root_cause(message: str) -> str:
    """The last exception line of a traceback, which is its cause; the whole message, on one line, if there is none."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for line in reversed(lines):
        name, colon, _ = line.partition(": ")
        if colon and name.split(".")[-1].endswith(("Error", "Exception", "PortTaken")) and " " not in name:
            return line.rpartition(f"{name}: ")[2] if name.startswith(("deployments.", "serve_app.")) else line
    return " ".join(lines)


def _strings(value: object) -> Iterable[str]:
    return (item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _token_header() -> dict[str, str]:
    """Ray's own token, where the cluster asks for one (RAY_AUTH_MODE=token), found where Ray looks for it."""
    try:
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        token = os.environ.get("RAY_AUTH_TOKEN") or path.read_text(encoding="ascii").strip()
    except (OSError, ValueError, RuntimeError):  # no file, no text, no home: then there is none to send
        return {}
    return {"Authorization": f"Bearer {token}"} if token and token.isascii() and token.isprintable() else {}
