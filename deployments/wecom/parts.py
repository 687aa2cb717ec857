"""What every surface is built from, handed in once."""

from collections.abc import Callable
from dataclasses import dataclass

from deployments.store.shared import Leases
from deployments.wecom.calls import Calls
from deployments.wecom.pictures import PictureSource
from deployments.wecom.robots import Robots
from deployments.wecom.settings import Limits, Texts
from deployments.wecom.tokens import AccessTokens


@dataclass(frozen=True, slots=True)
class Parts:
    """``qyapi`` and ``sockets`` are WeCom's addresses, ``owner`` is this replica's name in leases."""

    calls: Calls
    qyapi: str
    tokens: AccessTokens
    pictures: PictureSource
    robots: Robots
    texts: Texts
    limits: Limits
    clock: Callable[[], float]
    leases: Leases
    owner: str
    sockets: str
    proxy: str | None
