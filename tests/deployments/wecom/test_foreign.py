"""Code that is not ours on the other end: callbacks sealed by other libraries, and the simulator used by other clients."""

import asyncio
import json
import shutil
import subprocess
import time
from pathlib import Path

import apprise
import httpx
import pytest
import requests
from apprise.plugins.wecombot import NotifyWeComBot
from wechatpy.session.memorystorage import MemoryStorage
from wechatpy.work import WeChatClient
from wechatpy.work.crypto import WeChatCrypto
from wechatpy.work.exceptions import InvalidCorpIdException
from wecom_aibot_sdk import WSClient

from serve_app.wecom_sim.cipher import key_bytes
from serve_app.wecom_sim.users import Said, xml
from tests.conftest import missing_package
from tests.deployments.wecom.town import BOT_KEY, JPEG, KEY, PNG

FOREIGN = Path(__file__).parent / "foreign"
CORP, APP_TOKEN, BOT_TOKEN = "wx5823bf96d3bd56c7", "QDG6eK", "hJqcu3uJ9Tn2gXPmxx2w9kkCkCE2EPYo"
APP = {"token": APP_TOKEN, "key": KEY, "receiver": CORP}
BOT = {"token": BOT_TOKEN, "key": BOT_KEY, "receiver": ""}


@pytest.fixture(scope="session")
def node():
    """Node with WeCom's own packages; the path of its program."""
    path = shutil.which("node")
    if path is None or not (FOREIGN / "node_modules" / "@wecom").is_dir():
        missing_package("Node with WeCom's packages")
    return path


class NodeCrypto:
    """The official packages' crypto, a process for the session's calls."""

    def __init__(self, node, library):
        self._library = library
        self._process = subprocess.Popen(
            [node, FOREIGN / "callbacks.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _call(self, request):
        self._process.stdin.write(json.dumps(request | {"library": self._library}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def query(self, surface, text):
        """The query and the ciphertext of a callback."""
        stamp = {"timestamp": str(int(time.time())), "nonce": "1372623149"}
        sealed = self._call(surface | stamp | {"text": text})
        return stamp | {"msg_signature": sealed["signature"]}, sealed["encrypt"]

    def opened(self, surface, reply):
        stamp = {"timestamp": str(reply["timestamp"]), "nonce": reply["nonce"]}
        found = self._call(surface | stamp | {"signature": reply["msgsignature"], "sealed": reply["encrypt"]})
        assert found["valid"]
        return json.loads(found["text"])

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)


class WechatpyCrypto:
    def query(self, surface, text):
        nonce, stamp = "1372623149", str(int(time.time()))
        crypto = WeChatCrypto(surface["token"], surface["key"], surface["receiver"])
        import xmltodict

        sealed = xmltodict.parse(crypto.encrypt_message(text, nonce, stamp))["xml"]
        return {"timestamp": stamp, "nonce": nonce, "msg_signature": sealed["MsgSignature"]}, sealed["Encrypt"]

    def close(self):
        pass


@pytest.fixture(params=["wechatpy", "crypto", "sdk"])
def foreign(request):
    """Another library's seal: wechatpy's, or that of one of the official Node packages."""
    found = (
        WechatpyCrypto() if request.param == "wechatpy" else NodeCrypto(request.getfixturevalue("node"), request.param)
    )
    yield found
    found.close()


def test_an_app_s_callbacks_sealed_by_others_are_answered(play, foreign):
    async def scenario(town):
        async with httpx.AsyncClient(trust_env=False, base_url=town.url) as client:
            query, echo = foreign.query(APP, "1616140317555161061")
            answer = await client.get("/wecom/app/desk", params=query | {"echostr": echo})
            assert (answer.status_code, answer.text) == (200, "1616140317555161061")
            common = {"ToUserName": CORP, "FromUserName": "zhangsan", "CreateTime": 1409659813, "AgentID": 218}
            picture = {"PicUrl": town.sim.media.post(JPEG), "MediaId": town.sim.media.upload(JPEG)}
            for fields in (
                {"MsgType": "image", "MsgId": "1", **picture},
                {"MsgType": "text", "Content": "单号]]>？", "MsgId": "2"},
            ):
                query, sealed = foreign.query(APP, xml(common | fields))
                body = f"<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>"
                for _ in range(2):
                    answer = await client.post("/wecom/app/desk", params=query, content=body)
                    assert (answer.status_code, answer.content) == (200, b"")
        await town.eventually(lambda: town.texts() == ["答：单号]]>？"])

    play(scenario)


@pytest.mark.parametrize("foreign", ["crypto", "sdk"], indirect=True)
def test_a_bot_s_callbacks_sealed_by_the_official_code_get_replies_that_it_opens(play, foreign):
    async def scenario(town):
        async with httpx.AsyncClient(trust_env=False, base_url=town.url) as client:
            query, echo = foreign.query(BOT, "echo")
            assert (await client.get("/wecom/bot/shop", params=query | {"echostr": echo})).text == "echo"
            image = {"url": town.sim.media.post(PNG, key_bytes(BOT_KEY))}
            items = [{"msgtype": "text", "text": {"content": "颜色？"}}, {"msgtype": "image", "image": image}]
            message = {"msgid": "m1", "aibotid": "b", "chattype": "single", "from": {"userid": "zhangsan"}}
            message |= {"msgtype": "mixed", "mixed": {"msg_item": items}}

            async def shown(body):
                query, sealed = foreign.query(BOT, json.dumps(body, ensure_ascii=False))
                answer = await client.post("/wecom/bot/shop", params=query, json={"encrypt": sealed})
                assert answer.json()["nonce"] == query["nonce"]
                return foreign.opened(BOT, answer.json())["stream"]

            first = await shown(message)
            poll = message | {"msgtype": "stream", "stream": {"id": first["id"]}}

            async def finished():
                stream = await shown(poll)
                return stream if stream["finish"] else None

            assert (await town.eventually(finished))["content"] == "答：颜色？"

    play(scenario)


def test_a_callback_for_another_receiver_is_no_business_of_ours_nor_of_wechatpy_s(play):
    async def scenario(town):
        query, sealed = WechatpyCrypto().query(APP | {"receiver": "wx0000000000000000"}, "<xml/>")
        async with httpx.AsyncClient(trust_env=False, base_url=town.url) as client:
            body = f"<xml><Encrypt>{sealed}</Encrypt></xml>"
            assert (await client.post("/wecom/app/desk", params=query, content=body)).status_code == 400
        with pytest.raises(InvalidCorpIdException):
            WeChatCrypto(APP_TOKEN, KEY, CORP).decrypt_message(
                body, query["msg_signature"], query["timestamp"], query["nonce"]
            )

    play(scenario)


class ToSimulator(requests.adapters.HTTPAdapter):
    """What is meant for WeCom goes to the simulator; nothing else of the client is changed."""

    def __init__(self, base):
        super().__init__()
        self._base = base

    def send(self, request, **options):
        request.url = request.url.replace("https://qyapi.weixin.qq.com", self._base)
        return super().send(request, **options)


def test_wechatpy_uses_the_simulator_s_qyapi(play):
    async def scenario(town):
        def used():
            client = WeChatClient(CORP, "s" * 43, session=MemoryStorage())
            client._http = requests.Session()
            client._http.trust_env = False
            client._http.mount("https://", ToSimulator(town.settings.endpoints.qyapi))
            assert client.message.send_text(218, "zhangsan", "wechatpy: 你好")["errcode"] == 0
            assert client.agent.get(218)["agentid"] == 218
            town.world.tokens.clear()  # the token is no more: wechatpy fetches another
            assert client.message.send_text(218, "zhangsan", "wechatpy: 再见")["errcode"] == 0

        await asyncio.to_thread(used)
        assert town.texts(chat="zhangsan") == ["wechatpy: 你好", "wechatpy: 再见"]
        assert town.world.counts["gettoken"] == 2

    play(scenario, start=False)


def test_apprise_sends_through_the_simulator_s_robot(play, monkeypatch):
    async def scenario(town):
        base = town.settings.endpoints.qyapi
        monkeypatch.setattr(
            NotifyWeComBot, "notify_url", NotifyWeComBot.notify_url.replace("https://qyapi.weixin.qq.com", base)
        )
        robot = apprise.Apprise()
        assert robot.add(f"wecombot://{town.world.robots['ops']}")
        assert await asyncio.to_thread(robot.notify, body="apprise: 你好")
        wrong = apprise.Apprise()
        assert wrong.add("wecombot://00000000-0000")
        await asyncio.to_thread(wrong.notify, body="apprise: nobody")
        assert town.texts(surface="robot/ops") == ["apprise: 你好"]

    play(scenario, start=False)


class NodeBot:
    """A bot on the official Node SDK, in a process of its own; what it told so far."""

    def __init__(self, node, url, bot_id, secret):
        self.told = []
        self._process = subprocess.Popen(
            [node, FOREIGN / "bot.mjs", url, bot_id, secret], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reading = asyncio.create_task(asyncio.to_thread(self._read))

    def _read(self):
        for line in self._process.stdout:
            self.told.append(json.loads(line))

    def has_told(self, what):
        return any(one["what"] == what for one in self.told)

    async def close(self):
        self._process.stdin.close()
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, 10)
        await self._reading


def test_the_official_node_sdk_is_a_bot_on_the_simulator(play, node):
    async def scenario(town):
        bot = town.settings.sockets["line"]
        found = NodeBot(node, town.settings.endpoints.sockets, bot.bot_id, "l" * 43)
        try:
            await town.eventually(lambda: found.has_told("authenticated"))
            await town.users.event("socket/line", "zhangsan", "enter_chat")
            await town.eventually(lambda: "node: welcome" in town.texts())
            await town.users.say("socket/line", Said("zhangsan", "你好"))
            await town.eventually(lambda: "node: pushed" in town.texts())
            assert [one.text for one in town.seen(kind="stream")] == ["node: one moment", "node: 你好"]
            assert {"what": "answered", "errcode": 0} in found.told
            await town.users.say("socket/line", Said("zhangsan", "", (JPEG,)))
            await town.eventually(lambda: f"node: {len(JPEG)} bytes" in town.texts())
            await town.sim.sockets.close("line", 1011)
            await town.eventually(lambda: town.world.counts["frame aibot_subscribe"] == 2)
        finally:
            await found.close()

    play(scenario, start=False)


def test_the_official_node_sdk_is_refused_with_another_secret(play, node):
    async def scenario(town):
        found = NodeBot(node, town.settings.endpoints.sockets, town.settings.sockets["line"].bot_id, "wrong")
        try:
            await town.eventually(lambda: found.has_told("error"))
            assert town.world.counts["authentication failures"] >= 1
            assert not found.has_told("authenticated")
        finally:
            await found.close()

    play(scenario, start=False)


def test_the_node_sdk_and_our_service_evict_each_other_and_ours_is_not_drawn_into_a_fight(play, node):
    async def scenario(town):
        bot = town.settings.sockets["line"]
        link = town.service.platforms["socket/line"].link
        await town.eventually(lambda: link.connected)
        found = NodeBot(node, town.settings.endpoints.sockets, bot.bot_id, "l" * 43)
        try:
            await town.eventually(lambda: link.counts["evicted"] >= 1)
            await town.eventually(lambda: link.counts["subscriptions"] == 2)
            assert link.counts["connections"] == 2
        finally:
            await found.close()

    play(scenario, sockets={"line": {"retakes_per_hour": 1}})


def test_the_community_python_sdk_is_a_bot_on_the_simulator(play):
    async def scenario(town):
        bot = town.settings.sockets["line"]
        client = WSClient(bot.bot_id, "l" * 43, ws_url=town.settings.endpoints.sockets, reconnect_interval=100)

        async def on_text(frame):
            await client.reply_stream(frame, "stream-1", "python: one moment", False)
            await client.reply_stream(frame, "stream-1", f"python: {frame['body']['text']['content']}", True)
            body = {"msgtype": "markdown", "markdown": {"content": "python: pushed"}}
            await client.send_message(frame["body"]["from"]["userid"], body)

        async def on_image(frame):
            image = frame["body"]["image"]
            data = (await client.download_file(image["url"], image["aeskey"]))["buffer"]
            await client.reply_stream(frame, "stream-2", f"python: {len(data)} bytes", True)

        client.on("message.text", on_text)
        client.on("message.image", on_image)
        await client.connect()
        try:
            await town.eventually(lambda: "line" in town.sim.sockets.live)
            await town.users.say("socket/line", Said("zhangsan", "你好"))
            await town.eventually(lambda: "python: pushed" in town.texts())
            assert "python: 你好" in town.texts(kind="stream")
            await town.users.say("socket/line", Said("zhangsan", "", (JPEG,)))
            await town.eventually(lambda: f"python: {len(JPEG)} bytes" in town.texts())
        finally:
            await client.disconnect()

    play(scenario, start=False)
