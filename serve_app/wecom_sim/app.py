"""The simulator as one HTTP application: qyapi, media, the long connection, and the chat page."""

from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from serve_app.wecom_sim.calling import Calling
from serve_app.wecom_sim.media import Media
from serve_app.wecom_sim.page import Page
from serve_app.wecom_sim.qyapi import Qyapi
from serve_app.wecom_sim.sockets import Sockets
from serve_app.wecom_sim.users import Users
from serve_app.wecom_sim.world import World


@dataclass(frozen=True)
class Simulator:
    """Its parts, for whoever drives it; ``app`` serves them."""

    world: World
    media: Media
    sockets: Sockets
    calling: Calling
    users: Users
    app: Starlette


def simulator(world: World, base_url: str, bot_url: str) -> Simulator:
    """``base_url`` is where the simulator is reached, ``bot_url`` where the service is."""
    media, sockets, calling, qyapi = Media(world, base_url.rstrip("/")), Sockets(world), Calling(world), Qyapi(world)
    users = Users(world, calling, media, sockets, bot_url)
    page = Page(users)
    routes = [
        Route("/cgi-bin/gettoken", qyapi.gettoken),
        Route("/cgi-bin/getcallbackip", qyapi.callback_addresses),
        Route("/cgi-bin/agent/get", qyapi.agent),
        Route("/cgi-bin/message/send", qyapi.message_send, methods=["POST"]),
        Route("/cgi-bin/media/get", media.get),
        Route("/cgi-bin/webhook/send", qyapi.webhook_send, methods=["POST"]),
        Route("/cgi-bin/aibot/response", qyapi.response, methods=["POST"]),
        Route("/media/{id}", media.serve),
        WebSocketRoute("/ws", sockets.serve),
        WebSocketRoute("/", sockets.serve),
        Route("/", page.show),
        Route("/sim/surfaces", page.surfaces),
        Route("/sim/modes", page.modes, methods=["POST"]),
        Route("/sim/say", page.say, methods=["POST"]),
        Route("/sim/seen", page.seen),
    ]
    return Simulator(world, media, sockets, calling, users, Starlette(routes=routes))
