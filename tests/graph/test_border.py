"""The running service's border: live changes gone wrong, uploads that stop, strangers' headers, a prefix with keys."""

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import count
from pathlib import Path

import pytest
import requests
from PIL import Image

from benchmarks.stalled_uploads import measured

pytestmark = pytest.mark.serve

SAMPLES = Path(__file__).resolve().parents[2] / "demo" / "samples"
CORNERS = count(1 << 16)
KEY = "a-key"


def unseen() -> bytes:
    """A sample with a corner of its own, so that no answer is kept."""
    picture = Image.open(SAMPLES / "order-1.png").convert("RGB")
    picture.putpixel((0, 0), tuple(next(CORNERS).to_bytes(3)))
    encoded = BytesIO()
    picture.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def ask(url, **headers):
    data = {"question": "订单号是多少？", "max_new_tokens": "4"}
    return requests.post(f"{url}/v1/ask", files={"image": unseen()}, data=data, headers=headers, timeout=60)


def health(url):
    return requests.get(f"{url}/healthz", timeout=10).json()


def eventually(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.2)


@contextmanager
def callers(url: str, how_many: int = 2) -> Iterator[Counter[int]]:
    """People who ask all the time; what they were answered, by status."""
    statuses: Counter[int] = Counter()
    done = threading.Event()

    def go_on() -> None:
        while not done.is_set():
            statuses[ask(url).status_code] += 1

    threads = [threading.Thread(target=go_on) for _ in range(how_many)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        done.set()
        for thread in threads:
            thread.join()


def deployment(application, name):
    return next(entry for entry in application["deployments"] if entry["name"] == name)


BAD_KNOBS = [
    ("Preprocessor", "max_pixels", -5),
    ("Preprocessor", "max_pixel", 5),
    ("Model", "beam_width", 1),
    ("Ingress", "max_question_chars", 0),
]  # fmt: skip


def test_a_bad_live_change_is_told_and_harms_nobody(live):
    with callers(live.url) as statuses:
        for name, knob, value in BAD_KNOBS:
            changed = live.application
            deployment(changed, name)["user_config"][knob] = value
            live.deploy(changed)
            told = f"{name}: {knob}: "
            eventually(lambda: any(fault.startswith(told) for fault in health(live.url).get("rejected", [])))  # noqa: B023
        live.deploy(live.application)
        eventually(lambda: "rejected" not in health(live.url))
    assert set(statuses) == {200}


BROKEN_VERSIONS = [
    ("no checkpoint", lambda args: args["model"].update(checkpoint="./demo/none"), "demo/none"),
    ("no card classifier", lambda args: args["preprocess"]["safety"].update(cards="./demo/none"), "demo/none"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named"), [row[1:] for row in BROKEN_VERSIONS], ids=[r[0] for r in BROKEN_VERSIONS])
def test_a_version_that_cannot_start_leaves_the_old_one_serving(live, change, named):
    from ray import serve

    changed = live.application
    change(changed["args"])
    with callers(live.url) as statuses:
        live.deploy(changed)

        def application():
            return serve.status().applications["tuwen"]

        eventually(lambda: application().status == "DEPLOY_FAILED")
        deployments = application().deployments.values()
        assert named in application().message + "".join(entry.message for entry in deployments)
        assert ask(live.url).status_code == 200
        live.restore()
    assert set(statuses) == {200}


def test_uploads_that_stop_are_given_up_and_nobody_else_waits(live):
    seen = asyncio.run(measured(live.url, count=240, limit_s=45))
    print(seen)
    assert seen.statuses[0] == 0, "each was ended by the service, with an answer"
    assert set(seen.statuses) == {408, 429}
    assert seen.health_s
    assert seen.answers_s


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Request-Timeout-Seconds": "0"},
        {"X-Request-Timeout-Seconds": "0.001"},
        {"X-Request-Disconnect-Disabled": "?1"},
        {"serve_multiplexed_model_id": "another"},
        {"X-Session-Id": "x" * 1000},
    ],
    ids=lambda headers: next(iter(headers.items()))[0],
)
def test_a_stranger_cannot_command_ray(live, headers):
    assert ask(live.url, **headers).status_code == 200


def test_an_unfit_request_id_is_replaced_in_header_and_body_alike(live):
    answer = ask(live.url, **{"X-Request-ID": "a b<script>"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] != "a b<script>"
    assert ask(live.url, **{"X-Request-ID": "mine-1"}).json()["request_id"] == "mine-1"


def test_the_whole_surface_under_a_prefix_with_keys(live):
    prefixed = live.application | {"route_prefix": "/tuwen"}
    deployment(prefixed, "Ingress")["user_config"]["api_key_sha256"] = [hashlib.sha256(KEY.encode()).hexdigest()]
    live.deploy(prefixed)
    url, key = f"{live.url}/tuwen", {"Authorization": f"Bearer {KEY}"}

    def answers():
        try:
            return health(url).get("ready", False)
        except requests.exceptions.JSONDecodeError:  # the proxy does not know the prefix yet
            return False

    eventually(answers)
    eventually(lambda: requests.get(f"{url}/v1/models", timeout=10).status_code == 401)
    answer = ask(url, **key)
    assert answer.json()["answer"]
    assert ask(url).status_code == 401
    record = requests.get(f"{url}/v1/requests/{answer.json()['request_id']}", headers=key, timeout=10)
    assert record.json()["status"] == 200
    for path in (
        "/",
        "/docs",
        "/openapi.json",
        "/samples",
        f"/samples/{json.loads((SAMPLES / 'samples.json').read_text())[0]['file']}",
    ):
        assert requests.get(url + path, timeout=10).status_code == 200, path
    for path in ("/v1/models", "/v1/requests/x", "/v1/ask", "/nothing", "//v1/models", "/v1/models/"):
        assert requests.get(url + path, timeout=10, allow_redirects=False).status_code in (401, 307), path
    live.restore()
