"""WeCom's error codes, by what to do about them. Only the code counts: its text changes and is only for the log.

developer.work.weixin.qq.com/document/path/90313, and codes that others have met.
"""

import re
from enum import StrEnum
from typing import Any

from deployments.wecom.platform import Outcome, Verdict


class Kind(StrEnum):
    OK = "ok"
    BUSY = "busy"  # try again soon
    LIMIT = "limit"  # try again after a minute
    TOKEN = "token"  # fetch another token, once
    CONFIG = "config"  # the operator must act
    PERMANENT = "permanent"


BUSY_PAUSES_S = (1.0, 2.0, 5.0)
LIMIT_PAUSE_S = 60.0

KINDS: dict[int, Kind] = {
    0: Kind.OK,
    **dict.fromkeys((-1, 50001, 50002), Kind.BUSY),
    **dict.fromkeys((45009, 45033, 45022, 846607), Kind.LIMIT),
    **dict.fromkeys((40014, 42001, 41001), Kind.TOKEN),
    **dict.fromkeys(
        (40001, 40013, 40056, 301002, 48002, 48004, 60020, 86008, 93000, 93004, 93008, 853000, 853006, 40201),
        Kind.CONFIG,
    ),
}

MEANINGS: dict[int, str] = {
    -1: "WeCom is busy",
    40001: "the secret is not this app's",
    40003: "no such user",
    40008: "a message type that this address does not take",
    40013: "the CorpID is wrong",
    40014: "the token is not valid (another one was fetched since)",
    40058: "a parameter is not valid, or the text is too long",
    40201: "stopped by WeCom's spam filter",
    42001: "the token has expired",
    45002: "the text is too long",
    45009: "too many calls a minute, hour or day",
    45033: "too many calls at a time",
    48002: "the app may not use this interface",
    60020: "this machine's address is not among the app's trusted addresses (企业可信IP)",
    81013: "none of the receivers can be reached",
    86008: "the app may not push to this chat",
    93000: "the robot's address is wrong, or the robot was removed",
    93004: "the robot is disabled",
    93006: "no such chat, or nobody has written in it yet",
    93008: "the robot is not in the group",
    301002: "the token is of another app",
    846605: "the request id is not valid any more",
    846608: "the stream may no longer be changed",
    846609: "the connection is not subscribed",
    853000: "bot id or secret is wrong",
    853006: "the company may not use this ability",
}


def kind_of(code: int) -> Kind:
    """Unknown codes are permanent: repeating what nobody understands helps nobody."""
    return KINDS.get(code, Kind.PERMANENT)


def told(code: int, errmsg: str = "") -> str:
    """Code and meaning for a log line; the caller's address where WeCom names it, for the operator to paste."""
    address = re.search(r"from ip: ?([0-9a-fA-F.:]+)", errmsg)
    meaning = MEANINGS.get(code, "unknown code")
    return f"errcode {code}: {meaning}" + (f": {address[1]}" if address else "")


def outcome_of(answer: dict[str, Any], attempt: int = 0) -> Outcome:
    """What a call's JSON means for the send. A user whom nothing reaches has not been sent anything."""
    code = answer.get("errcode", -1)
    kind = kind_of(code if isinstance(code, int) else -1)
    if kind is Kind.OK:
        for name in ("invaliduser", "unlicenseduser", "invalidparty", "invalidtag"):
            if answer.get(name):
                return Outcome(Verdict.GONE, f"undelivered: {name}")
        return Outcome(Verdict.SENT, "0")
    if kind is Kind.BUSY:
        return Outcome(Verdict.RETRY, str(code), BUSY_PAUSES_S[min(attempt, len(BUSY_PAUSES_S) - 1)])
    if kind is Kind.LIMIT:
        return Outcome(Verdict.RETRY, str(code), LIMIT_PAUSE_S)
    return Outcome(Verdict.GONE, str(code), alert=kind in (Kind.CONFIG, Kind.TOKEN))
