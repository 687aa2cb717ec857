"""WeCom's callbacks on the running graph: the real ingress, preprocessor and model, the simulator on the other end."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
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
from tests.graph.test_graph import replica_pids

pytestmark = pytest.mark.serve

SAMPLE = (Path(__file__).resolve().parents[2] / "demo" / "samples" / "order-1.png").read_bytes()

MOST_IN_FLIGHT = 3
"""Messages of the long connection that a kill of its owner may catch on their way: all that were sent just then."""


class Chat:
    """The simulator on a thread with a loop of its own."""

    def __init__(self, settings, bot_url):
        self.sim, host, port = from_section(plain_values(settings), bot_url, {"req-ids-die"})
        self.sim.world.retry_pause_s, self.sim.world.retries = 1.0, 60
        config = uvicorn.Config(
            self.sim.app, host=host, port=port, log_level="error", lifespan="off", ws="websockets-sansio"
        )
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
        return self.saying(surface, said).result(60)

    def saying(self, surface, said):
        """Begins to say it; WeCom goes on trying to deliver it."""
        return asyncio.run_coroutine_threadsafe(self.sim.users.say(surface, said), self.loop)

    def answers_to(self, user):
        return [one.text for one in self.sim.world.seen if one.chat == user and one.finished and one.kind != "say"]


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
        chat.config = config
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


@pytest.mark.parametrize("surface", ["app/desk", "bot/shop", "socket/line"])
def test_a_user_s_picture_is_answered_by_the_model(live, chat, surface):
    posted = requests.post(
        f"{live.url}/v1/ask", files={"image": SAMPLE}, data={"question": "订单号是多少？"}, timeout=60
    )
    chat.say(surface, Said("zhangsan", "订单号是多少？", (SAMPLE,)))
    expected = posted.json()["answer"]
    eventually(lambda: expected in [one.text for one in chat.sim.world.seen if one.finished and one.surface == surface])
    assert max(chat.sim.world.acknowledged_s) < 1.0


def test_killed_processes_lose_no_message_and_double_no_answer(live, chat):
    """SIGKILL of the ingress, then of the model, then of all replicas at once, with messages on their way."""
    users, under_way = [], []
    for number, victims in enumerate((["Ingress"], ["Model"], ["Ingress", "Preprocessor", "Model"])):
        for place in range(9):
            surface, user = ("app/desk", "bot/shop", "socket/line")[place % 3], f"killed-{number}-{place}"
            users.append((surface, user))
            under_way.append(chat.saying(surface, Said(user, "订单号是多少？", (SAMPLE,))))
        eventually(lambda n=number: sum(bool(chat.answers_to(user)) for _, user in users) > 9 * n)
        for pid in [pid for name in victims for pid in replica_pids(live)[name]]:
            with suppress(ProcessLookupError):  # killed before, and still listed
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: answers(live))
        assert all(one.result(120) for one in under_way)
        eventually(lambda: all_ended(live))
    states = Counter()
    for surface, counts in requests.get(f"{live.url}/wecom/status", timeout=30).json()["messages"].items():
        states.update({(surface.partition("/")[0], state): count for state, count in counts.items()})
    several = [user for _, user in users if len(real_answers(chat, user)) > 1]
    without = [surface for surface, user in users if not real_answers(chat, user)]
    assert several == []
    assert states["app", "in_doubt"] == states["bot", "in_doubt"] == 0
    assert not states["app", "given_up"] + states["bot", "given_up"] + states["socket", "given_up"]
    assert set(without) <= {"socket/line"}, "frames on their way to a process that dies are WeCom's to repeat"
    assert len(without) <= 2 * MOST_IN_FLIGHT


def real_answers(chat, user):
    """What the user was told, but for the holding text and the promise of a later answer."""
    return [text for text in chat.answers_to(user) if "正在为您查询" not in text and "稍后发送" not in text]


def all_ended(live):
    try:
        found = requests.get(f"{live.url}/wecom/status", timeout=30).json()["messages"]
    except (requests.RequestException, KeyError):
        return False
    return all(state in ("answered", "in_doubt", "given_up") for counts in found.values() for state in counts)


def test_a_deployment_that_is_taken_down_and_made_again_goes_on_where_it_was(live, chat):
    under_way = [chat.saying("bot/shop", Said(f"down-{n}", "订单号是多少？", (SAMPLE,))) for n in range(4)]
    eventually(lambda: any(chat.answers_to(f"down-{n}") for n in range(4)))
    live.deploy()
    eventually(lambda: not answers(live))
    live.deploy(chat.config)
    eventually(lambda: answers(live))
    assert all(one.result(120) for one in under_way)
    eventually(lambda: all_ended(live))
    eventually(lambda: all(len(real_answers(chat, f"down-{n}")) == 1 for n in range(4)))
