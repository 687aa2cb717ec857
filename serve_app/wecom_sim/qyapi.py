"""qyapi.weixin.qq.com as far as a bot calls it: tokens, messages to users, robots, response addresses."""

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from serve_app.wecom_sim.world import World

MESSAGE_QUOTA = ((30, 60.0), (1000, 3600.0))
ROBOT_QUOTA = ((20, 60.0),)
REFUSALS = {
    "busy": (-1, "system busy"),
    "over-frequency": (45009, "api freq out of limit"),
    "untrusted-address": (60020, "not allow to access from your ip, from ip: 203.0.113.7"),
}
LIMITS = {"text": 2048, "markdown": 4096, "markdown_v2": 4096}


class Qyapi:
    def __init__(self, world: World) -> None:
        self.world = world

    async def gettoken(self, request: Request) -> JSONResponse:
        query, world = request.query_params, self.world
        world.counts["gettoken"] += 1
        for name, app in world.apps.items():
            if (app.corp_id, app.secret) == (query.get("corpid"), query.get("corpsecret")):
                return _ok(access_token=world.new_token(name), expires_in=7200)
        known = any(app.corp_id == query.get("corpid") for app in world.apps.values())
        return _fault(40001 if known else 40013, "invalid credential")

    async def callback_addresses(self, request: Request) -> JSONResponse:
        _, fault = self._app(request)
        return fault or _ok(ip_list=["101.226.103.*", "127.0.0.1"])

    async def agent(self, request: Request) -> JSONResponse:
        name, fault = self._app(request)
        if fault is None and request.query_params.get("agentid") != str(self.world.apps[name].agent_id):
            return _fault(301002, "not allow operate another agent with this accesstoken")
        return fault or _ok(agentid=self.world.apps[name].agent_id, name=name)

    def _app(self, request: Request) -> tuple[str, JSONResponse | None]:
        """The app that calls, or why it may not."""
        name, code = self.world.app_of(request.query_params.get("access_token", ""))
        if code:
            return "", _fault(code, "invalid access_token")
        for mode, (refused, errmsg) in REFUSALS.items():
            if mode in self.world.modes:
                return "", _fault(refused, errmsg)
        return name, None

    async def message_send(self, request: Request) -> JSONResponse:
        """Over the limit a member's messages are dropped without an error, as WeCom does."""
        world, body = self.world, await request.json()
        world.counts["message/send"] += 1
        name, fault = self._app(request)
        if fault is not None:
            return fault
        if body.get("agentid") != world.apps[name].agent_id:
            return _fault(301002, "not allow operate another agent with this accesstoken")
        kind, text = body.get("msgtype"), str(body.get(body.get("msgtype"), {}).get("content", ""))
        if kind not in ("text", "markdown"):
            return _fault(40008, "invalid message type")
        if not text:
            return _fault(44004, "content is empty")
        bad = [user for user in str(body.get("touser", "")).split("|") if user in world.unlicensed]
        if bad and "unlicensed-user" in world.modes:
            return _ok(unlicenseduser="|".join(bad), msgid="m")
        for user in str(body.get("touser", "")).split("|"):
            self._to_member(name, user, text, body)
        return _ok(invaliduser="", msgid="m")

    def _to_member(self, name: str, user: str, text: str, body: dict[str, Any]) -> None:
        world = self.world
        if body.get("enable_duplicate_check") and world.is_repeated(
            f"{name}/{user}", text, body.get("duplicate_check_interval", 1800)
        ):
            world.counts["duplicate dropped"] += 1
        elif not world.over_quota(f"app/{name}/{user}", MESSAGE_QUOTA):
            cut = text.encode()[:2048].decode("utf-8", "ignore")
            world.counts["silently cut"] += cut != text
            world.see(f"app/{name}", user, "message", cut)

    async def webhook_send(self, request: Request) -> JSONResponse:
        world, key = self.world, request.query_params.get("key", "")
        robot = next((name for name, known in world.robots.items() if known == key), None)
        if robot is None:
            return _fault(93000, "invalid webhook url, hint: [1]")
        try:
            body = await request.json()
            kind = body["msgtype"]
            text = str(body[kind]["content"])
        except (ValueError, KeyError, TypeError):
            return _fault(40008, "invalid message type")
        if not text:
            return _fault(44004, "content is empty")
        if len(text.encode()) > LIMITS.get(kind, 4096):
            return _fault(
                40058, f"{kind}.content exceed max length {LIMITS.get(kind, 4096)}. invalid Request Parameter"
            )
        if world.over_quota(f"robot/{robot}", ROBOT_QUOTA):
            return _fault(45009, "api freq out of limit")
        world.see(f"robot/{robot}", robot, "robot", text)
        return _ok()

    async def response(self, request: Request) -> JSONResponse:
        """One call, within the hour."""
        world, code = self.world, request.query_params.get("response_code", "")
        surface, chat, msgid, until = world.response_codes.get(code, ("", "", "", 0.0))
        body = await request.json()
        if until <= world.clock() or code in world.used_codes:
            return _fault(40096, "invalid response_code")
        world.used_codes.add(code)
        if body.get("msgtype") not in ("markdown", "template_card"):
            return _fault(40008, "invalid message type")
        text = str(body.get("markdown", {}).get("content", ""))
        if len(text.encode()) > 20480:
            return _fault(45002, "content size out of limit")
        world.see(surface, chat, "message", text, about=msgid)
        return _ok()


def _ok(**more: Any) -> JSONResponse:
    return JSONResponse({"errcode": 0, "errmsg": "ok", **more})


def _fault(code: int, errmsg: str = "error") -> JSONResponse:
    return JSONResponse({"errcode": code, "errmsg": f"{errmsg}, hint: [{re.sub('[^0-9]', '', str(code))}]"})
