"""WeCom's callbacks on the running graph: the real ingress, preprocessor and model, the simulator on the other end."""

import asyncio
import threading
import time
from pathlib import Path

import pytest
import requests
import uvicorn

from deployments.wecom.secrets import plain_values
from deployments.wecom.settings import WecomSettings
from serve_app.wecom_sim.command import from_section
from serve_app.wecom_sim.users import Said
from tests.conftest import free_port
from tests.deployments.wecom.town import section
from tests.deployments.wecom.vectors import BAD_JSON, ECHO, MESSAGE

pytestmark = pytest.mark.serve

SAMPLE = (Path(__file__).resolve().parents[2] / "demo" / "samples" / "order-1.png").read_bytes()


class Chat:
    """The simulator on a thread with a loop of its own."""

    def __init__(self, settings, bot_url):
        self.sim, host, port = from_section(plain_values(settings), bot_url, set())
        config = uvicorn.Config(self.sim.app, host=host, port=port, log_level="error", lifespan="off")
        self.server = uvicorn.Server(config)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.server._serve())

    def start(self):
        self.thread.start()
        eventually(lambda: self.server.started)

    def stop(self):
        self.server.should_exit = True
        self.thread.join(10)

    def say(self, surface, said):
        return asyncio.run_coroutine_threadsafe(self.sim.users.say(surface, said), self.loop).result(60)


def eventually(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def chat(live, tmp_path_factory):
    """The service with the section in its config, and a simulator that it takes for WeCom."""
    port, config = free_port(), live.application
    given = section(port)
    vector = {"token": BAD_JSON.token, "encoding_aes_key": BAD_JSON.encoding_aes_key, "corp_id": BAD_JSON.receiver}
    given["apps"]["second"] = given["apps"]["desk"] | vector
    config["args"]["wecom"] = given
    config["args"]["store"] = {"url": f"sqlite:///{tmp_path_factory.mktemp('store')}/wecom.db"}
    chat = Chat(WecomSettings.model_validate(given), live.url)
    chat.start()
    try:
        live.deploy(config)
        eventually(lambda: answers(live))
        yield chat
    finally:
        live.restore()
        eventually(lambda: not answers(live))
        chat.stop()


def answers(live):
    """Whether the chat platform's addresses are there."""
    try:
        return requests.get(f"{live.url}/wecom/status", timeout=30).status_code == 200
    except requests.RequestException:
        return False


def query(vector, **more):
    return {"msg_signature": vector.signature, "timestamp": vector.timestamp, "nonce": vector.nonce} | more


def test_the_published_echo_proves_the_address_with_nothing_around_it(live, chat):
    found = requests.get(f"{live.url}/wecom/app/desk", params=query(ECHO, echostr=ECHO.ciphertext), timeout=30)
    assert (found.status_code, found.content) == (200, ECHO.plain)
    assert found.headers["content-type"].startswith("text/plain")


def test_the_published_message_is_acknowledged_with_nothing(live, chat):
    body = f"<xml><ToUserName>x</ToUserName><Encrypt><![CDATA[{MESSAGE.ciphertext}]]></Encrypt></xml>"
    for _ in range(4):
        found = requests.post(f"{live.url}/wecom/app/desk", params=query(MESSAGE), data=body, timeout=30)
        assert (found.status_code, found.content) == (200, b"")
    assert requests.get(f"{live.url}/wecom/status", timeout=30).json()["messages"]["app/desk"].keys() <= {
        "ready",
        "waiting",
        "answered",
    }


def test_what_is_signed_and_no_message_or_not_signed_is_refused_in_the_one_shape(live, chat):
    body = f"<xml><Encrypt>{BAD_JSON.ciphertext}</Encrypt></xml>"
    cases = [
        ("second", query(BAD_JSON), body, 400, "invalid_request"),
        ("desk", query(MESSAGE, nonce="other"), body, 401, "unauthorized"),
        ("desk", {}, body, 400, "invalid_request"),
        ("desk", query(MESSAGE), "<!DOCTYPE x><xml/>", 400, "invalid_request"),
        ("desk", query(MESSAGE), "x" * 300_000, 413, "body_too_large"),
        ("nobody", query(MESSAGE), body, 404, "not_found"),
    ]
    for name, params, sent, status, code in cases:
        found = requests.post(f"{live.url}/wecom/app/{name}", params=params, data=sent, timeout=30)
        assert (found.status_code, found.json()["error"]["code"]) == (status, code), found.text


@pytest.mark.parametrize("surface", ["app/desk", "bot/shop"])
def test_a_user_s_picture_is_answered_by_the_model(live, chat, surface):
    posted = requests.post(
        f"{live.url}/v1/ask", files={"image": SAMPLE}, data={"question": "订单号是多少？"}, timeout=60
    )
    chat.say(surface, Said("zhangsan", "订单号是多少？", (SAMPLE,)))
    expected = posted.json()["answer"]
    eventually(lambda: expected in [one.text for one in chat.sim.world.seen if one.finished and one.surface == surface])
    assert max(chat.sim.world.acknowledged_s) < 1.0
