"""Pictures of a message, from wherever the platform keeps them, through the same guarded download as everybody's."""

from collections.abc import Awaitable, Callable

from deployments.errors import FetchFailed, ImageTooLarge, NotAnImage
from deployments.ingress.ports import Downloader
from deployments.wecom.calls import Calls
from deployments.wecom.media_keys import opened_picture
from deployments.wecom.settings import Endpoints, is_loopback

MAGIC: tuple[Callable[[bytes], bool], ...] = (
    lambda data: data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")),
    lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    lambda data: data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"heif", b"avif"),
)
CHUNK_BYTES = 20 * 1024 * 1024
NEEDS_RANGE = 830002


def is_picture(data: bytes) -> bool:
    """By its first bytes: what a server calls it is not asked, WeCom calls every picture an octet-stream."""
    return any(test(data) for test in MAGIC)


class PictureSource:
    """``by_url`` takes what a message links to, ``by_media_id`` what an app's message holds."""

    def __init__(self, downloader: Downloader, endpoints: Endpoints, calls: Calls, most_bytes: int) -> None:
        self._downloader, self._endpoints, self._calls, self._most_bytes = downloader, endpoints, calls, most_bytes

    async def by_url(self, url: str, key: bytes | None) -> bytes:
        """Raises ImageError, FetchTimeout, Overloaded. The address is asked for byte for byte, as it is signed."""
        padding = 32 if key else 0
        data = await self._downloader.fetch(secured(url), self._endpoints.media, self._most_bytes + padding)
        return checked(opened_picture(data, key) if key else data)

    async def by_media_id(self, media_id: str, token: Callable[[str | None], Awaitable[str]]) -> bytes:
        """Raises FetchFailed, ImageTooLarge, NotAnImage; TokenRefused, CallFailed."""
        given = await token(None)
        data, code = await self._media(media_id, given)
        if code in (40014, 42001):
            data, code = await self._media(media_id, await token(given))
        if data is None:
            raise FetchFailed(f"WeCom does not give the picture (errcode {code}): send it again")
        return checked(data)

    async def _media(self, media_id: str, token: str) -> tuple[bytes | None, int]:
        """The bytes, or the errcode that comes with status 200 in their place."""
        params = {"access_token": token, "media_id": media_id}
        data, code = await self._piece(params, {})
        if code != NEEDS_RANGE:
            return data, code
        whole = b""
        while len(whole) <= self._most_bytes:
            piece, code = await self._piece(params, {"range": f"bytes={len(whole)}-{len(whole) + CHUNK_BYTES - 1}"})
            if piece is None:
                return None, code
            whole += piece
            if len(piece) < CHUNK_BYTES:
                return whole, 0
        raise ImageTooLarge("the picture is too large: send it smaller")

    async def _piece(self, params: dict[str, str], headers: dict[str, str]) -> tuple[bytes | None, int]:
        url = f"{self._endpoints.qyapi}/cgi-bin/media/get"
        answer = await self._calls.get(url, params, max(self._most_bytes, CHUNK_BYTES) + 1024, headers)
        told = answer.as_json if answer.body[:1] == b"{" else None
        if told is not None and "errcode" in told:
            return None, int(told["errcode"])
        if answer.status not in (200, 206):
            raise FetchFailed(f"WeCom answered with {answer.status}: send the picture again")
        return answer.body, 0


def secured(url: str) -> str:
    """https, whatever the message says, but on this machine; without the blanks that some messages end with."""
    url = url.strip()
    host = url[len("http://") :].split("/")[0].rsplit(":", 1)[0] if url.lower().startswith("http://") else ""
    return f"https://{url[len('http://') :]}" if host and not is_loopback(host) else url


def checked(data: bytes) -> bytes:
    """Raises NotAnImage."""
    if not is_picture(data):
        raise NotAnImage("the file is no picture: send a JPEG, PNG, WebP, GIF or BMP")
    return data
