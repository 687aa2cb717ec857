"""What a body says of itself: its type, its charset, and that it is not packed."""

from starlette.requests import Request

from deployments.errors import UnsupportedMediaType
from deployments.texts import quoted


def demand_json(request: Request) -> None:
    """Raises UnsupportedMediaType for a body that is not announced as JSON in UTF-8, unpacked."""
    demand_unpacked(request)
    kind, parameters = content_type(request)
    if kind != "application/json":
        got = quoted(kind) if kind else "no content type"
        raise UnsupportedMediaType(
            f"send the body as JSON, with the header `Content-Type: application/json` (got {got})"
        )
    charset = parameters.get("charset", "utf-8")
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(f"JSON is always in UTF-8 (the content type says {quoted(charset)})")


def demand_unpacked(request: Request) -> None:
    """Raises UnsupportedMediaType for a compressed body: unpacking is what bombs wait for."""
    coding = ",".join(request.headers.getlist("content-encoding")).strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedMediaType(f"the body is packed ({quoted(coding)}): send it without Content-Encoding")


def content_type(request: Request) -> tuple[str, dict[str, str]]:
    """(media type, its parameters), in lower case."""
    kind, *options = request.headers.get("content-type", "").lower().split(";")
    pairs = (option.partition("=") for option in options)
    return kind.strip(), {name.strip(): value.strip().strip('"') for name, _, value in pairs}
