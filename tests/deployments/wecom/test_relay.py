"""The relay: a key, a robot by its name, and never an address that a message brings."""

from hashlib import sha256

import httpx
import pytest

from tests.deployments.wecom.town import JPEG

RELAYS = {"old": {"key_sha256": [sha256(b"open sesame").hexdigest()], "robots": ["ops"], "pair_window_s": 0.2}}
KEY = {"authorization": "Bearer open sesame"}


async def post(town, body, headers=KEY):
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{town.url}/wecom/relay/old", json=body, headers=headers)


def test_a_picture_is_answered_in_the_group_of_the_named_robot(play):
    async def scenario(town):
        url = town.sim.media.post(JPEG)
        body = {"MsgType": "image", "Image": {"PicUrl": url}, "Text": {"Content": "几件？"}, "robot_webhook": "ops"}
        response = await post(town, body | {"MsgId": "7"})
        assert (response.status_code, response.json()) == (200, {"accepted": True})
        await post(town, body | {"MsgId": "7"})
        await town.eventually(lambda: town.texts(surface="robot/ops") == ["答：几件？"])
        await town.eventually(town.all_ended)
        assert len(town.texts()) == 1

    play(scenario, relays=RELAYS)


WRONG = {
    "no key": ({}, {}, 401),
    "another key": ({}, {"authorization": "Bearer sesame"}, 401),
    "a robot's address": ({"robot_webhook": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=693a91f6"}, KEY, 400),
    "an address inside": ({"robot_webhook": "http://127.0.0.1:1/"}, KEY, 400),
    "an unknown robot": ({"robot_webhook": "boss"}, KEY, 400),
    "nothing to answer": ({"Image": {}, "Text": {}}, KEY, 400),
}


@pytest.mark.parametrize(("change", "headers", "status"), WRONG.values(), ids=WRONG)
def test_what_the_relay_must_not_do_is_refused_and_nothing_is_stored(play, change, headers, status):
    async def scenario(town):
        body = {"MsgType": "text", "Text": {"Content": "几件？"}, "robot_webhook": "ops"} | change
        response = await post(town, body, headers)
        assert response.status_code == status
        assert "693a91f6" not in response.text
        assert await town.service.inbox.counts() == {}

    play(scenario, relays=RELAYS)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "https://ww-aibot-img-1258476243.cos.ap-guangzhou.myqcloud.com.evil.example/x",
        "http://127.0.0.1:22/x",
    ],
)
def test_a_picture_s_address_leads_to_wecom_or_the_sender_is_told(play, url):
    async def scenario(town):
        await post(town, {"MsgType": "image", "Image": {"PicUrl": url}, "robot_webhook": "ops"})
        await town.eventually(lambda: town.texts() == ["图片分析失败，请重试。（图片地址不受支持，请直接发送图片）"])

    play(scenario, relays=RELAYS)


def test_without_a_relay_in_the_config_there_is_none(play):
    async def scenario(town):
        assert (await post(town, {"Text": {"Content": "x"}})).status_code == 404

    play(scenario)
