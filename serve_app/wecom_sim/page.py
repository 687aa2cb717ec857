"""The chat page: what a user of the simulated WeCom types, drops and sees."""

import base64
import json
from dataclasses import asdict
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from serve_app.wecom_sim.users import Said, Users
from serve_app.wecom_sim.world import MODES

MOST_BYTES = 30 * 1024 * 1024


class Page:
    def __init__(self, users: Users) -> None:
        self._users, self._world = users, users.world

    async def show(self, request: Request) -> HTMLResponse:
        return HTMLResponse((files(__package__) / "page.html").read_text(encoding="utf-8"))

    async def surfaces(self, request: Request) -> JSONResponse:
        """What can be talked to, and the bad habits that can be switched on."""
        world = self._world
        names = [f"{kind}/{name}" for kind in ("app", "bot", "socket") for name in getattr(world, f"{kind}s")]
        return JSONResponse({"surfaces": names, "modes": {mode: mode in world.modes for mode in MODES}})

    async def modes(self, request: Request) -> JSONResponse:
        """Switches habits on and off: ``{"lost-first-reply": true}``."""
        for mode, on in (await request.json()).items():
            if mode in MODES:
                (self._world.modes.add if on else self._world.modes.discard)(mode)
        return await self.surfaces(request)

    async def say(self, request: Request) -> JSONResponse:
        """Sends what was typed and dropped: ``{"surface", "user", "text", "pictures": [base64]}``."""
        body = json.loads(await request.body())
        pictures = tuple(base64.b64decode(picture) for picture in body.get("pictures", []))
        said = Said(body.get("user") or "zhangsan", body.get("text", ""), pictures, body.get("group", ""))
        return JSONResponse({"msgid": await self._users.say(body["surface"], said)})

    async def seen(self, request: Request) -> JSONResponse:
        """Everything that somebody has seen, from a place in the list on, and the counts."""
        since = int(request.query_params.get("since", 0))
        found = [asdict(one) for one in self._world.seen[since:]]
        return JSONResponse({"seen": found, "next": since + len(found), "counts": dict(self._world.counts)})
