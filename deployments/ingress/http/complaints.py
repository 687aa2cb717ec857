"""Pydantic's errors about callers' values, in the callers' terms."""

from collections.abc import Sequence
from typing import Any

from deployments.texts import quoted

COMPLAINTS = {
    "missing": "is missing: send it",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
}
"""What to say of a field, by pydantic's kind of error."""


def told(errors: Sequence[Any]) -> str:
    """The first of them, with the field's name."""
    cause = errors[0]
    field = ".".join(str(part) for part in cause["loc"] if part != "body")
    complaint = COMPLAINTS.get(cause["type"], "cannot be read: check its value")
    return f"{quoted(field) if field else 'the body'} {complaint.format(**cause.get('ctx', {}))}"
