"""One callback as it arrives: the signature first, then the ciphertext, and whether it is fresh. No socket here."""

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.errors import RequestError, Unauthorized
from deployments.wecom.crypto import Crypto

SIGNATURES = ("msg_signature", "msgsignature", "signature")
MOST_QUERY_CHARS = 8 * 1024


@dataclass(frozen=True, slots=True)
class Signed:
    """The query of a callback: who says to have signed it, when, and with which nonce."""

    signature: str
    timestamp: str
    nonce: str


def signed(query: Mapping[str, str]) -> Signed:
    """The query's fields in any accepted spelling. Raises RequestError when one is missing."""
    signature = next((query[name] for name in SIGNATURES if query.get(name)), "")
    timestamp, nonce = query.get("timestamp", ""), query.get("nonce", "")
    for name, value in (("msg_signature", signature), ("timestamp", timestamp), ("nonce", nonce)):
        if not value or len(value) > MOST_QUERY_CHARS:
            raise RequestError(f"the address lacks {name}: WeCom itself adds it")
    return Signed(signature, timestamp, nonce)


def opened_echo(crypto: Crypto, query: Mapping[str, str]) -> bytes:
    """The plaintext that proves to WeCom whose address this is. Raises RequestError, Unauthorized.

    A proxy that decodes the address twice makes blanks of the plus signs.
    """
    who, echo = signed(query), query.get("echostr", "").replace(" ", "+")
    if not echo:
        raise RequestError("the address lacks echostr: WeCom itself adds it")
    crypto.check(who.signature, who.timestamp, who.nonce, echo)
    return crypto.open(echo)


def opened_message(crypto: Crypto, who: Signed, ciphertext: str) -> bytes:
    """The message inside. Raises Unauthorized, RequestError."""
    crypto.check(who.signature, who.timestamp, who.nonce, ciphertext)
    return crypto.open(ciphertext)


def refuse_stale(who: Signed, now: float, window_s: float) -> None:
    """Raises Unauthorized for a callback outside the replay window."""
    if is_stale(who, now, window_s):
        raise Unauthorized("the callback was signed too long ago: is this machine's clock right?")


def is_stale(who: Signed, now: float, window_s: float) -> bool:
    """Whether it was signed too long ago, or too far ahead; never where the window is 0."""
    if not window_s:
        return False
    try:
        return abs(now - int(who.timestamp)) > window_s
    except ValueError as fault:
        raise Unauthorized("the timestamp is none") from fault
