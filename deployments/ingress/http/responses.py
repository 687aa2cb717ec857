"""The one JSON shape of every failure."""

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from deployments.errors import TuwenError
from deployments.texts import printable


def error_response(request_id: str, error: TuwenError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """``{"error": {"code", "message", "request_id"}}`` with the error's status, and ``Retry-After`` where known.

    Never raises, whatever the caller's words are that the message repeats.
    """
    sent = dict(headers or {})
    if error.status == 401:
        sent["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        sent["Retry-After"] = str(math.ceil(error.retry_after_s))
    return JSONResponse(error_body(request_id, error), status_code=error.status, headers=sent)


def error_body(request_id: str, error: TuwenError) -> dict[str, Any]:
    """The failure as JSON: in printable text of bounded length."""
    return {"error": {"code": error.code, "message": printable(error.message), "request_id": printable(request_id)}}
