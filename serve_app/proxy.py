"""Runs in Serve's HTTP proxy before it listens: ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` in the configs."""

import os
import signal
import sys
import time

import ray
from starlette.middleware import Middleware

from deployments.ingress.http.border.proxy import middlewares
from serve_app.ports import PortTaken, demand_first, demand_unshared, own_proxies
from serve_app.processes import Process, ignores, process, raylet_of

CONTROLLER = ("SERVE_CONTROLLER_ACTOR", "serve")
PRINTED_S = 2.0
"""Ray carries a worker's words to the console a moment later."""
ENDED_S = 10.0
"""``serve run`` ends within this time, and this process with it."""


def before_listening() -> list[Middleware]:
    """The proxy's middleware, unless somebody else holds its port. Raises PortTaken."""
    name, namespace = CONTROLLER
    options = ray.get(ray.get_actor(name, namespace=namespace).get_http_config.remote())
    try:
        demand_unshared(options.host, options.port)
    except PortTaken as taken:
        end_serve_run(taken)
        raise
    return middlewares()


def demand_own_port() -> None:
    """For the application's builder, where a config does not name ``before_listening``. Raises PortTaken."""
    try:
        demand_first()
    except PortTaken as taken:
        end_serve_run(taken)
        raise


def end_serve_run(why: Exception) -> None:
    """End the ``serve run`` that this Ray belongs to, with a sentence; without it Serve would go on trying.

    A Ray that somebody else started (``ray start``, Kubernetes) goes on: there the caller's exception is what is seen.
    """
    starter = serve_run()
    if starter is None:
        return
    for proxy in own_proxies():
        os.kill(proxy.pid, signal.SIGKILL)
    print(f"serve run ends: {why}", file=sys.stderr, flush=True)
    time.sleep(PRINTED_S)
    os.kill(starter.pid, signal.SIGTERM if ignores(starter.pid, signal.SIGINT) else signal.SIGINT)
    time.sleep(ENDED_S)


def serve_run() -> Process | None:
    """The ``serve run`` that started this Ray."""
    raylet = raylet_of(os.getpid())
    starter = process(raylet.parent) if raylet else None
    is_command = starter is not None and [word.rpartition("/")[2] for word in starter.command[1:3]] == ["serve", "run"]
    return starter if is_command else None
