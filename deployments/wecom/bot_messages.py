"""An AI bot's JSON, the same over the webhook and the long connection: what was sent, or what happened.

developer.work.weixin.qq.com/document/path/100719 and 101027. Read tolerantly: fields come in more spellings and places
than the pages say, and new kinds appear.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from deployments.errors import RequestError
from deployments.wecom.inbound import ChatKind, Event, Inbound, PictureRef, dedup_key
from deployments.wecom.mentions import without_mentions

Json = Mapping[str, Any]
URLS = ("url", "pic_url", "image_url", "download_url")
KEYS = ("aeskey", "aes_key", "AESKey")


def stream_id_of(body: Json) -> str:
    """The stream that WeCom asks about, if that is what it does: such a callback repeats its message's id."""
    return _text(_object(body, "stream").get("id")) if body.get("msgtype") == "stream" else ""


def read_bot(body: Json, bot_name: str) -> Inbound | Event:
    """Raises RequestError for a message without a sender or an id."""
    sender = _text(_object(body, "from").get("userid"))
    if body.get("msgtype") == "event" or "event" in body:
        return Event(event_name(body), sender, greet=event_name(body) == "enter_chat")
    if not sender or not _text(body.get("msgid")):
        raise RequestError("the message has no msgid or no from.userid")
    quote = _object(body, "quote")
    own = list(_parts(body, _text(body.get("msgtype"))))
    quoted = list(_parts(quote, _text(quote.get("msgtype")))) if quote else []
    words = without_mentions(" ".join(part for part in own if isinstance(part, str)), bot_name)
    pictures = tuple(part for part in [*own, *quoted] if isinstance(part, PictureRef))
    kind: ChatKind = "group" if body.get("chattype") == "group" or body.get("chatid") else "single"
    return Inbound(
        key=dedup_key(_text(body.get("aibotid")), _text(body.get("msgid"))),
        sender=sender,
        chat=_text(body.get("chatid")) or sender,
        chat_kind=kind,
        words=words,
        quoted=without_mentions(" ".join(part for part in quoted if isinstance(part, str)), bot_name),
        pictures=pictures,
        unsupported="" if words or pictures else _text(body.get("msgtype")) or "nothing",
        handle={"response_url": _text(body.get("response_url")), "user": sender},
    )


def event_name(body: Json) -> str:
    event = body.get("event")
    if isinstance(event, str):
        return event
    return _text(_object(body, "event").get("eventtype")) or _text(body.get("eventtype"))


def _parts(body: Json, kind: str) -> Iterator[str | PictureRef]:
    """Texts and pictures of a message, in order."""
    if kind == "mixed":
        for item in _items(_object(body, "mixed")):
            yield from _parts(item, _text(item.get("msgtype")) or _text(item.get("msg_type")))
        return
    inner = _object(body, kind)
    if kind in ("text", "voice"):
        yield _text(inner.get("content")).strip()
    elif kind in ("image", "file", "appmsg"):
        inner = _object(inner, "image") or _object(inner, "file") or inner
        url = next((text for name in URLS if (text := _text(inner.get(name)).strip())), "")
        key = next((text for name in KEYS if (text := _text(inner.get(name)))), "")
        if url:
            yield PictureRef(url=url, key=key, maybe=kind != "image")


def _items(mixed: Json) -> list[Json]:
    items = mixed.get("msg_item") or mixed.get("item") or []
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _object(body: Json, name: str) -> Json:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""
