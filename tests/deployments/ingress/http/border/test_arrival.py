"""A request's time counts from the proxy on, and nobody can make it count from later."""

import asyncio

import pytest

from deployments.ingress.http.border.arrival import ARRIVED, arrival
from deployments.ingress.http.border.proxy import StrangersHeaders


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("990.5", 990.5),
        ("1000", 1000.0),
        ("1001", 1000.0),
        ("", 1000.0),
        ("nan", 1000.0),
        ("soon", 1000.0),
        ("1", 1000.0),
    ],
)
def test_what_cannot_be_is_not_believed(stamp, expected):
    assert arrival(stamp, now=1000.0) == expected


def test_the_proxy_says_when_and_no_caller_does():
    seen = []

    async def app(scope, receive, send):
        seen.append([value for name, value in scope["headers"] if name == ARRIVED.encode()])

    headers = [(b"x-tuwen-arrived", b"12"), (b"X_Tuwen_Arrived", b"13")]
    asyncio.run(StrangersHeaders(app)({"type": "http", "headers": headers}, None, None))
    ((stamp,),) = seen
    assert float(stamp) > 1e9


def test_time_that_passed_before_the_replica_counts(service):
    import time

    files, before = {"image": ("a.png", b"picture")}, f"{time.time() - 20:.3f}"
    service.client.post("/v1/ask", files=files, data={"question": "x"}, headers={ARRIVED: before})
    service.client.post("/v1/ask", files=files, data={"question": "y"})
    early, late = service.model.questions
    assert late.deadline - early.deadline == pytest.approx(20, abs=1)
