"""``wecom-sim``: the simulator beside a service, both from the same config, so that they share keys and names."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import uvicorn
import yaml

from deployments.wecom.secrets import SecretsMissing, plain_values, with_secrets
from deployments.wecom.settings import WecomSettings
from serve_app.wecom_sim.app import Simulator, simulator
from serve_app.wecom_sim.cipher import Seal
from serve_app.wecom_sim.world import DEFAULT_MODES, SimApp, SimBot, SimSocket, World


class NothingToSimulate(Exception):
    """The config asks for no WeCom on this machine."""


def world_of(section: Mapping[str, Any], modes: set[str]) -> World:
    """The WeCom that the section (plain values, secrets in clear) takes itself to be connected to."""
    world = World(modes=modes)
    for name, one in section["apps"].items():
        seal = Seal(one["token"], one["encoding_aes_key"], one["corp_id"])
        world.apps[name] = SimApp(one["corp_id"], one["agent_id"], one["secret"], seal)
    for name, one in section["bots"].items():
        world.bots[name] = SimBot(Seal(one["token"], one["encoding_aes_key"], ""), one["bot_name"] or name)
    for name, one in section.get("sockets", {}).items():
        world.sockets[name] = SimSocket(one["bot_id"], one["secret"], one["bot_name"] or name)
    for name, one in section["robots"].items():
        world.robots[name] = one["url"].partition("key=")[2]
    return world


def section_of(
    config: str, environment: Mapping[str, str], bot_url: str, modes: Sequence[str]
) -> tuple[Simulator, str, int]:
    """As ``from_section``, of the first application in a config's text that has the section."""
    sections = [one.get("args", {}).get("wecom") for one in yaml.safe_load(config)["applications"]]
    given = next(filter(None, sections), None)
    if given is None:
        raise NothingToSimulate("the config has no args.wecom")
    try:
        settings = with_secrets(WecomSettings.model_validate(given), environment)
    except SecretsMissing as fault:
        raise NothingToSimulate(str(fault)) from fault
    return from_section(plain_values(settings), bot_url, {*DEFAULT_MODES, *modes})


def from_section(section: Mapping[str, Any], bot_url: str, modes: set[str]) -> tuple[Simulator, str, int]:
    """The simulator, and the host and port that the section expects it at. Raises NothingToSimulate."""
    base = section["endpoints"]["qyapi"]
    parts = urlsplit(base)
    if parts.scheme != "http" or parts.port is None:
        raise NothingToSimulate(
            f"args.wecom.endpoints.qyapi is {base}: the simulator needs http://127.0.0.1:PORT there"
        )
    return simulator(world_of(section, modes), base, bot_url), parts.hostname or "127.0.0.1", parts.port


def serve(found: Simulator, host: str, port: int) -> None:
    """Serves until it is interrupted. Raises OSError where the port is taken."""
    config = uvicorn.Config(found.app, host=host, port=port, log_level="warning", ws="websockets-sansio")
    asyncio.run(uvicorn.Server(config).serve())
