"""Wait until a service is ready, or learn why it will never be: ``serve run`` stays up on a failed deployment."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

POLL_S = 1.0


class DeploymentFailed(Exception):
    """Serve gave the application up; the message is the deployment's own."""


class NotReady(Exception):
    """The time is over; the message says what was last seen."""


def wait(
    url: str,
    dashboard: str,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """The service's ``/healthz`` once it is ready. Raises DeploymentFailed, NotReady."""
    deadline = clock() + timeout_s
    while True:
        health, seen = _health(url)
        if health is not None:
            return health
        failure = _failure(dashboard)
        if failure is not None:
            raise DeploymentFailed(failure)
        if clock() >= deadline:
            raise NotReady(f"{url} is not ready after {timeout_s:g} s: {seen}")
        sleep(POLL_S)


def _health(url: str) -> tuple[dict[str, Any] | None, str]:
    """The health of a ready service, or None; and what was seen."""
    try:
        response = requests.get(f"{url.rstrip('/')}/healthz", timeout=10)
        body = response.json()
    except requests.exceptions.JSONDecodeError:
        return None, f"/healthz answered {response.status_code}"
    except requests.exceptions.RequestException:
        return None, "nobody listens there"
    return (body, "ready") if response.ok and body.get("ready") else (None, str(body.get("reason", "not ready")))


def _failure(dashboard: str) -> str | None:
    """Why a deployment of Serve failed, from Ray's dashboard; None while none has, or while it cannot be asked."""
    try:
        response = requests.get(f"{dashboard.rstrip('/')}/api/serve/applications/", headers=_token_header(), timeout=10)
        applications = response.json()["applications"].values() if response.ok else []
    except (requests.exceptions.RequestException, KeyError, ValueError):
        return None
    for application in applications:
        if application["status"] == "DEPLOY_FAILED":
            return failure_message(application)
    return None


def failure_message(application: dict[str, Any]) -> str:
    """The application's name and the most telling line of its failed deployment's message."""
    failed = [
        deployment["message"]
        for deployment in application.get("deployments", {}).values()
        if deployment.get("status") in ("DEPLOY_FAILED", "UNHEALTHY") and deployment.get("message")
    ]
    message = failed[0] if failed else application.get("message", "")
    return f"application {application.get('name', '?')} failed to deploy: {root_cause(message)}"


def root_cause(message: str) -> str:
    """The last exception line of a traceback, which is its cause; the whole message, on one line, if there is none."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for line in reversed(lines):
        name, colon, _ = line.partition(": ")
        if colon and name.split(".")[-1].endswith(("Error", "Exception")) and " " not in name:
            return line.rpartition(f"{name}: ")[2] if name.startswith("deployments.") else line
    return " ".join(lines)


def _token_header() -> dict[str, str]:
    """Ray's own token, where the cluster asks for one (RAY_AUTH_MODE=token), found where Ray looks for it."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if not token and path.is_file():
        token = path.read_text().strip()
    return {"Authorization": f"Bearer {token}"} if token else {}
