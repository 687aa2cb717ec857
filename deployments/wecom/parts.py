"""What every surface is built from, handed in once."""

from collections.abc import Callable
from dataclasses import dataclass

from deployments.wecom.calls import Calls
from deployments.wecom.pictures import PictureSource
from deployments.wecom.robots import Robots
from deployments.wecom.settings import Limits, Texts
from deployments.wecom.tokens import AccessTokens


@dataclass(frozen=True, slots=True)
class Parts:
    calls: Calls
    qyapi: str
    tokens: AccessTokens
    pictures: PictureSource
    robots: Robots
    texts: Texts
    limits: Limits
    clock: Callable[[], float]
