"""Frames of the long connection: JSON texts with a command, a request id and a body; acknowledgements have a code.

developer.work.weixin.qq.com/document/path/101463.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from deployments.wecom.json_envelope import read_json

SUBSCRIBE, PING = "aibot_subscribe", "ping"
RESPOND, WELCOME, PUSH = "aibot_respond_msg", "aibot_respond_welcome_msg", "aibot_send_msg"
MESSAGE, EVENT = "aibot_msg_callback", "aibot_event_callback"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it came: ``code`` is an acknowledgement's, None for a command."""

    command: str
    req_id: str
    body: dict[str, Any] = field(repr=False)
    code: int | None = None
    errmsg: str = ""


def read_frame(text: str | bytes) -> Frame:
    """Raises RequestError for what is no JSON object."""
    found = read_json(text)
    headers, body, code = found.get("headers"), found.get("body"), found.get("errcode")
    return Frame(
        command=str(found.get("cmd") or ""),
        req_id=str(headers.get("req_id") or "") if isinstance(headers, dict) else "",
        body=body if isinstance(body, dict) else {},
        code=code if isinstance(code, int) else None,
        errmsg=str(found.get("errmsg") or ""),
    )


def written(command: str, req_id: str, body: dict[str, Any] | None = None) -> str:
    """A command's frame; halves of surrogate pairs, which no frame can carry, become question marks."""
    frame = {"cmd": command, "headers": {"req_id": req_id}} | ({} if body is None else {"body": body})
    return json.dumps(frame, ensure_ascii=False).encode("utf-8", "replace").decode()


def stream_body(stream_id: str, text: str, finished: bool) -> dict[str, Any]:
    return {"msgtype": "stream", "stream": {"id": stream_id, "finish": finished, "content": text}}


def push_body(chat: str, is_group: bool, text: str) -> dict[str, Any]:
    return {"chatid": chat, "chat_type": 2 if is_group else 1, "msgtype": "markdown", "markdown": {"content": text}}
