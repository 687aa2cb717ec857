"""Answers kept in a real Redis: shared by what runs, and no error when it goes and comes back."""

import time
from pathlib import Path

import pytest
import requests

pytestmark = pytest.mark.serve

SAMPLE = (Path(__file__).resolve().parents[2] / "demo" / "samples" / "order-1.png").read_bytes()


@pytest.fixture
def shared(live, redis_server):
    """The service with its answers in the test's Redis."""
    config = live.application
    config["args"]["ingress"]["cache"] = {"url": redis_server.url, "ttl_s": 600, "timeout_s": 0.5}
    try:
        live.deploy(config)
        eventually(lambda: health(live).get("cache") == "redis")
        yield redis_server
    finally:
        live.restore()
        eventually(lambda: health(live).get("cache") == "memory")  # the old ingress was ready all along


def health(live):
    """What the service says of itself; nothing while its ingress is being replaced."""
    try:
        return requests.get(f"{live.url}/healthz", timeout=30).json()
    except requests.RequestException:
        return {}


def eventually(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.2)


def ask(live, question):
    response = requests.post(f"{live.url}/v1/ask", files={"image": SAMPLE}, data={"question": question}, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()


def test_redis_goes_and_comes_back_without_an_error_and_hits_resume(live, shared):
    first = ask(live, "订单号？")
    eventually(lambda: ask(live, "订单号？")["cached"])
    shared.stop()
    for _ in range(12):
        again = ask(live, "订单号？")
        assert (again["answer"], again["cached"]) == (first["answer"], False)
    assert health(live)["cache_status"] == "open"
    shared.start()
    eventually(lambda: ask(live, "订单号？")["cached"])
    assert health(live)["cache_status"] == "ok"
