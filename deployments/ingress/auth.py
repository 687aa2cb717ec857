"""API keys: ``Authorization: Bearer KEY``, checked against SHA-256 digests in constant time."""

import hashlib
import hmac

from fastapi import Request

from deployments.errors import Unauthorized


async def require_key(request: Request) -> None:
    """A FastAPI dependency. Raises Unauthorized unless no keys are configured or the caller's is one of them."""
    digests: tuple[str, ...] = request.app.state.pipeline.knobs.api_key_sha256
    if digests and not is_accepted(request.headers.get("authorization", ""), digests):
        raise Unauthorized("an API key is needed: send it as `Authorization: Bearer KEY`")


def is_accepted(authorization: str, digests: tuple[str, ...]) -> bool:
    """Whether the header carries a key with one of the digests; takes equally long whichever it is."""
    scheme, _, key = authorization.partition(" ")
    digest = hashlib.sha256(key.strip().encode()).hexdigest()
    matches = [hmac.compare_digest(digest, known) for known in digests]
    return scheme.lower() == "bearer" and any(matches)
