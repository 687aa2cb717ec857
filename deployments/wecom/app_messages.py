"""A self-built app's XML, once opened: what was sent, or what happened.

developer.work.weixin.qq.com/document/path/90239 and 90240. Text and picture never come in one message.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from deployments.errors import RequestError
from deployments.wecom.inbound import Event, Inbound, PictureRef, dedup_key

CANNED = {"subscribe": "greeting"}
MENU = "menu:"


def read_app(fields: Mapping[str, str], canned: Mapping[str, str], greet_on_enter: bool) -> Inbound | Event:
    """``canned`` are the texts for events, by name. Raises RequestError for a message without a sender."""
    sender = fields.get("FromUserName", "").strip()
    if not sender:
        raise RequestError("the message has no FromUserName")
    kind = fields.get("MsgType", "").strip().lower()
    if kind == "event":
        return _event(fields, sender, canned, greet_on_enter)
    text = _text(kind, fields)
    pictures = _pictures(kind, fields)
    return Inbound(
        key=dedup_key(fields.get("AgentID", ""), sender, fields.get("MsgId", "") or _without_id(fields)),
        sender=sender,
        chat=sender,
        words=text,
        pictures=pictures,
        unsupported="" if text or pictures else kind or "nothing",
        handle={"user": sender},
    )


def _text(kind: str, fields: Mapping[str, str]) -> str:
    if kind == "text":
        return fields.get("Content", "").strip()
    return fields.get("Recognition", "").strip() if kind == "voice" else ""


def _pictures(kind: str, fields: Mapping[str, str]) -> tuple[PictureRef, ...]:
    found = PictureRef(url=fields.get("PicUrl", "").strip(), media_id=fields.get("MediaId", "").strip())
    return (found,) if kind == "image" and (found.url or found.media_id) else ()


def _event(fields: Mapping[str, str], sender: str, canned: Mapping[str, str], greet_on_enter: bool) -> Inbound | Event:
    name, button = fields.get("Event", "").strip(), fields.get("EventKey", "").strip()
    said, moment = CANNED.get(name, ""), _without_id(fields)
    if name == "click":
        said = f"{MENU}{button}" if f"{MENU}{button}" in canned else "help"
    if name == "enter_agent" and greet_on_enter:
        said, moment = "greeting", _day(fields)
    if not said:
        return Event(name, sender)
    key = dedup_key(fields.get("AgentID", ""), sender, "event", name, button, moment)
    return Inbound(key=key, sender=sender, chat=sender, canned=canned[said], handle={"user": sender})


def _without_id(fields: Mapping[str, str]) -> str:
    """Events have no id: sender and second are the documented key, and several events share a second."""
    return "/".join(fields.get(name, "") for name in ("CreateTime", "TaskId", "SessionId"))


def _day(fields: Mapping[str, str]) -> str:
    seconds = fields.get("CreateTime", "")
    return str(datetime.fromtimestamp(int(seconds), UTC).date()) if seconds.isdecimal() and len(seconds) < 12 else ""
