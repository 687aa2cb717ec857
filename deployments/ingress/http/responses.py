"""The one JSON shape of every failure."""

import math
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse

from deployments.errors import TuwenError


def error_response(request_id: str, error: TuwenError) -> JSONResponse:
    """``{"error": {"code", "message", "request_id"}}`` with the error's status, and ``Retry-After`` where known."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return JSONResponse(error_body(request_id, error), status_code=error.status, headers=headers)


def error_body(request_id: str, error: TuwenError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.message, "request_id": request_id}}


def told(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors about a caller's values, with the field's name."""
    cause = errors[0]
    where = ".".join(str(part) for part in cause["loc"] if part != "body")
    return f"{where or 'body'}: {cause['msg']}"
