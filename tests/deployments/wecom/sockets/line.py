"""The bot with a long connection in the test town, another client for it, and a replica that is killed."""

import json

from websockets.asyncio.client import connect

LINE = "socket/line"


QUICK = {"line": {"heartbeat_s": 0.1}}


def counts(service):
    return service.platforms[LINE].health().counts


async def connected(town, service=None):
    await town.eventually(lambda: (service or town.service).platforms[LINE].link.connected)


async def foreign(town):
    """Another client subscribes for the bot; its connection."""
    url = town.settings.endpoints.sockets
    one, socket = town.settings.sockets["line"], await connect(url, proxy=None)
    body = {"bot_id": one.bot_id, "secret": one.secret.get_secret_value()}
    await socket.send(json.dumps({"cmd": "aibot_subscribe", "headers": {"req_id": "foreign"}, "body": body}))
    assert json.loads(await socket.recv())["errcode"] == 0
    return socket


def kill(service):
    """The replica stops where it is: it gives no lease back, and its sockets close as a killed process's do."""
    platform = service.platforms[LINE]

    async def gone(*args):
        raise ConnectionError("killed")

    service.leases.give_back = service.leases.take = platform._keeper._leases.take = gone
    for task in service._tasks:
        task.cancel()
