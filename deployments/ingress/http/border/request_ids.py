"""Which request ids are taken from a client: those that are fit to be logged and put into a path."""

import re
import uuid

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def is_request_id(text: str) -> bool:
    return _REQUEST_ID.fullmatch(text) is not None


def request_id_of(given: str) -> str:
    """The client's id, as Serve's proxy has it in ``X-Request-ID``, if it is fit, else a new one."""
    return given if is_request_id(given) else str(uuid.uuid4())
