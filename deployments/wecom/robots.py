"""A group's robot: a way out only. It cannot tell a repeated message from a new one, so nothing is sent twice."""

import logging

from deployments.wecom.calls import CallFailed, Calls
from deployments.wecom.errcodes import outcome_of, told
from deployments.wecom.platform import Outcome, Outgoing, Verdict, Way
from deployments.wecom.settings import RobotSettings

logger = logging.getLogger("ray.serve")

QUOTA = ((20, 60.0),)
MOST_BYTES = 4096


class Robots:
    """The configured robots by name; an answer's text never says where it goes."""

    def __init__(self, settings: dict[str, RobotSettings], calls: Calls) -> None:
        self._settings, self._calls = settings, calls

    def way(self, name: str) -> Way:
        return Way(
            f"robot/{name}", MOST_BYTES, repeatable=self._settings[name].resend_in_doubt, quota_key=f"robot/{name}",
            quota=QUOTA, dialect="markdown", holds=True,
        )  # fmt: skip

    async def send(self, way: Way, part: Outgoing) -> Outcome:
        url = self._settings[way.name.removeprefix("robot/")].url.get_secret_value()
        try:
            answer = await self._calls.post(url, {"msgtype": "markdown", "markdown": {"content": part.text}})
        except CallFailed as fault:
            return Outcome(Verdict.IN_DOUBT if fault.sent else Verdict.RETRY, str(fault)[:64], after_s=5.0)
        body = answer.as_json
        if body is None or answer.status >= 500:
            return Outcome(Verdict.IN_DOUBT, f"HTTP {answer.status}")
        outcome = outcome_of(body)
        if outcome.verdict is not Verdict.SENT:
            logger.warning("wecom %s: %s", way.name, told(body.get("errcode", -1), str(body.get("errmsg", ""))))
        return outcome
