"""Pictures as WeCom and others serve them, through the running surfaces: the user is told, the log says why."""

import base64
import json
import secrets
from urllib.parse import quote

import pytest

from serve_app.wecom_sim import users
from serve_app.wecom_sim.calling import Callback
from serve_app.wecom_sim.cipher import key_bytes
from serve_app.wecom_sim.users import Said
from tests.deployments.wecom.town import BOT_KEY, JPEG, KEY

OURS, OTHERS = key_bytes(BOT_KEY), key_bytes(KEY)
ALIKE = "https://ww-aibot-img-1258476243.cos.ap-guangzhou.myqcloud.com.evil.example/x?sign=HUSH"


async def sent(town, image):
    """A question about a picture that is where, and what, the test says."""
    msgid, seal = str(secrets.randbits(60)), town.world.bots["shop"].seal
    body = town.users.body(Said("u1", "几件？", (JPEG,)), msgid, "bot/shop", "看图", lambda _: image)
    url = f"{town.url}/wecom/bot/shop"
    reply = await town.sim.calling.deliver(Callback(url, seal, json.dumps(body).encode(), False))
    town.users.follow(url, "bot/shop", "u1", msgid, reply)


def cut(town, url, keep):
    """The address, with the end of what is behind it missing."""
    id = url.rpartition("%3D")[2]
    data, until = town.sim.media.kept[id]
    town.sim.media.kept[id] = data[:keep], until
    return url


PICTURES = {
    "another key": (lambda t: t.sim.media.post(JPEG, OTHERS), "图片无法解密", "image_encoding"),
    "not encrypted": (lambda t: t.sim.media.post(JPEG + b"x" * (-len(JPEG) % 32)), "图片无法解密", "image_encoding"),
    "cut within a block": (lambda t: cut(t, t.sim.media.post(JPEG, OURS), 1000), "图片不完整", "image_truncated"),
    "cut between blocks": (lambda t: cut(t, t.sim.media.post(JPEG, OURS), 1024), "图片无法解密", "image_encoding"),
    "empty": (lambda t: cut(t, t.sim.media.post(JPEG, OURS), 0), "图片", "image_truncated"),
    "no picture": (lambda t: t.sim.media.post(b"%PDF-1.7 " * 100, OURS), "不是图片", "not_an_image"),
    "too large": (lambda t: t.sim.media.post(JPEG * 9, OURS), "图片太大", "image_too_large"),
    "a look-alike of the host": (lambda t: ALIKE, "图片地址不受支持", "blocked_address"),
    "a private address": (lambda t: "https://10.0.0.1/x?sign=HUSH", "图片地址不受支持", "blocked_address"),
    "the cloud's own": (lambda t: "http://169.254.169.254/latest?sign=HUSH", "图片地址不受支持", "blocked_address"),
    "a file": (lambda t: "file:///etc/passwd", "图片地址不受支持", "unsupported_scheme"),
    "another port": (lambda t: "http://127.0.0.1:22/x", "图片地址不受支持", "port_not_allowed"),
}


@pytest.mark.parametrize(("address", "told", "logged"), PICTURES.values(), ids=PICTURES)
def test_a_picture_that_cannot_be_had_is_told_in_plain_words_and_logged_without_secrets(
    play, caplog, address, told, logged
):
    async def scenario(town):
        await sent(town, {"url": address(town)})
        await town.eventually(lambda: any(told in text for text in town.texts()))
        await town.eventually(town.all_ended)
        await town.users.settled()
        assert logged in caplog.text
        assert not any(secret in caplog.text for secret in ("HUSH", BOT_KEY, KEY, "q-signature%3D"))

    play(scenario, limits={"max_picture_bytes": 8192})


def test_an_octet_stream_is_a_picture_by_its_bytes_and_blanks_behind_the_address_are_taken_off(play):
    async def scenario(town):
        await sent(town, {"url": f"{town.sim.media.post(JPEG, OURS)}  "})
        await town.eventually(lambda: "答：几件？" in town.texts())

    play(scenario)


SPELLINGS = {
    "43 characters": lambda key: base64.b64encode(key).decode().rstrip("="),
    "44 characters": lambda key: base64.b64encode(key).decode(),
    "percent-encoded": lambda key: quote(base64.b64encode(key).decode(), safe=""),
    "hex": bytes.hex,
}


@pytest.mark.parametrize("spelt", SPELLINGS.values(), ids=SPELLINGS)
def test_a_picture_s_own_key_is_read_in_every_spelling(play, monkeypatch, spelt):
    monkeypatch.setattr(users, "_spelt", spelt)

    async def scenario(town):
        await town.users.say("socket/line", Said("u1", "几件？", (JPEG,)))
        await town.eventually(lambda: "答：几件？" in town.texts())

    play(scenario)
