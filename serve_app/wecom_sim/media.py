"""Pictures that users send: behind addresses that last five minutes, encrypted for bots, by media id for apps."""

import secrets
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve_app.wecom_sim.cipher import scrambled
from serve_app.wecom_sim.world import World


@dataclass
class Media:
    """What has been posted, by its random id: bytes as they are served, and when they are gone."""

    world: World
    base_url: str
    kept: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    by_media_id: dict[str, bytes] = field(default_factory=dict)

    def post(self, picture: bytes, key: bytes | None = None) -> str:
        """The picture's address; of its ciphertext where there is a key."""
        id = secrets.token_hex(12)
        data = scrambled(key, picture) if key else picture
        expired = "picture-expired" in self.world.modes
        self.kept[id] = data, self.world.clock() + (0 if expired else self.world.picture_lasts_s)
        return f"{self.base_url}/media/{id}?sign=q-sign-algorithm%3Dsha1%26q-ak%3Dsim%26q-signature%3D{id}"

    def upload(self, picture: bytes) -> str:
        media_id = secrets.token_urlsafe(32)
        self.by_media_id[media_id] = picture
        return media_id

    async def serve(self, request: Request) -> Response:
        """As Tencent's object store does: an octet-stream whatever it is, 403 once the signature has run out."""
        data, until = self.kept.get(request.path_params["id"], (b"", 0.0))
        self.world.counts["media fetched"] += 1
        if until <= self.world.clock() or request.query_params.get("sign", "")[-24:] != request.path_params["id"]:
            self.world.counts["media refused"] += 1
            return Response("<Error><Code>AccessDenied</Code></Error>", 403, media_type="application/xml")
        return Response(data, media_type="application/octet-stream")

    async def get(self, request: Request) -> Response:
        """media/get: bytes, or an errcode with status 200; large ones in pieces."""
        _, code = self.world.app_of(request.query_params.get("access_token", ""))
        data = self.by_media_id.get(request.query_params.get("media_id", ""))
        if code or data is None or "picture-expired" in self.world.modes:
            return JSONResponse({"errcode": code or 40007, "errmsg": "invalid media_id"})
        wanted = request.headers.get("range", "")
        if not wanted and len(data) > 20 * 1024 * 1024:
            return JSONResponse({"errcode": 830002, "errmsg": "media too large, use Range"})
        if wanted:
            first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
            piece = data[first : last + 1]
            headers = {"content-range": f"bytes {first}-{first + len(piece) - 1}/{len(data)}"}
            return Response(piece, 206, headers, "application/octet-stream")
        headers = {"content-disposition": 'attachment; filename="picture.jpg"'}
        return Response(data, 200, headers, "application/octet-stream")
