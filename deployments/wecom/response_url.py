"""The one address that an AI bot's message brings with it: one call, within the hour, to WeCom and nowhere else."""

import logging
from urllib.parse import urlsplit

from deployments.store.rows import Message
from deployments.wecom.calls import CallFailed, Calls
from deployments.wecom.errcodes import Kind, kind_of, outcome_of, told
from deployments.wecom.inbound import Inbound
from deployments.wecom.platform import Outcome, Outgoing, Verdict, Way

logger = logging.getLogger("ray.serve")

MOST_BYTES = 20480
LASTS_S = 3600.0 - 60.0
PATH = "/cgi-bin/aibot/response"


def way_of(message: Message, inbound: Inbound, qyapi: str) -> tuple[Way, ...]:
    """The way, where the message's address is WeCom's."""
    url = inbound.handle.get("response_url", "")
    if not is_wecom(url, qyapi):
        return ()
    return (
        Way("response_url", MOST_BYTES, message.received_at + LASTS_S, repeatable=True, most_parts=1, dialect="tables"),
    )


def is_wecom(url: str, qyapi: str) -> bool:
    """Whether the address is of the configured WeCom, so that nothing is posted wherever a message says."""
    try:
        found, expected = urlsplit(url), urlsplit(qyapi)
        same = (found.scheme, found.hostname, found.port) == (expected.scheme, expected.hostname, expected.port)
    except ValueError:
        return False
    return same and found.path == PATH and not found.username


async def send(calls: Calls, inbound: Inbound, part: Outgoing) -> Outcome:
    """One call, whatever comes of it. Repeated after a crash, it is refused if it had been made: then it was sent."""
    body = {"msgtype": "markdown", "markdown": {"content": part.text}}
    try:
        answer = await calls.post(inbound.handle["response_url"], body)
    except CallFailed as fault:
        return Outcome(Verdict.GONE if fault.sent else Verdict.RETRY, str(fault)[:64], after_s=2.0)
    told_back = answer.as_json
    if told_back is None or answer.status >= 500:
        return Outcome(Verdict.GONE, f"HTTP {answer.status}")
    code = told_back.get("errcode", -1)
    if part.again and kind_of(code) is Kind.PERMANENT:
        return Outcome(Verdict.SENT, f"{code} when repeated")
    outcome = outcome_of(told_back)
    if outcome.verdict is not Verdict.SENT:
        logger.warning("wecom response_url: %s", told(code, str(told_back.get("errmsg", ""))))
        return Outcome(Verdict.GONE, outcome.code, alert=outcome.alert)  # it has had its one call
    return outcome
