"""What may be downloaded, from where, and how long it may take; every knob can change on a running service."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_LABEL = r"(?:\*|[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)"
_PATTERN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

# What frames the message or says whom it is for would let a setting break out of the request that was checked, and
# knobs are shown by Serve's own status page, so they are no place for a secret: sign the picture's URL instead.
FORBIDDEN_HEADERS = frozenset((
    "accept-encoding", "authorization", "connection", "content-length", "cookie", "expect", "forwarded", "host",
    "keep-alive", "proxy-authorization", "proxy-connection", "range", "if-range", "te", "trailer", "transfer-encoding",
    "upgrade",
))  # fmt: skip


def _checked_pattern(text: str) -> str:
    pattern = text.lower().removesuffix(".")
    if _is_address(pattern):
        return str(ip_address(pattern))
    if not _PATTERN.fullmatch(pattern) or set(pattern) <= set("*."):
        raise ValueError(f"{text!r} is no host name in ASCII: write example.com, or *.example.com with * for one label")
    return pattern


def _checked_host(text: str) -> str:
    if "*" in text:
        raise ValueError(f"{text!r}: non-public ranges are opened for one exact host name, never for a pattern")
    return _checked_pattern(text)


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"header {name!r}: a name is one token, and a value is printable ASCII on one line")
        if name.lower() in FORBIDDEN_HEADERS:
            raise ValueError(f"header {name!r} cannot be set for downloads")
    return headers


def _is_address(text: str) -> bool:
    try:
        return ip_address(text) is not None
    except ValueError:
        return False


Host = Annotated[str, AfterValidator(_checked_host)]
HostPattern = Annotated[str, AfterValidator(_checked_pattern)]
Headers = Annotated[dict[str, str], AfterValidator(_checked_headers)]
Port = Annotated[int, Field(ge=1, le=65535)]
Ranges = tuple[IPv4Network | IPv6Network, ...]


class FetchKnobs(BaseModel):
    """Limits on downloads.

    In a host pattern ``*`` stands for exactly one label, as in a certificate: ``*.example.com`` is ``a.example.com``,
    but neither ``example.com`` nor ``a.b.example.com``. A pattern trusts everybody who can get a name that matches it:
    for a storage provider write the account's own label, as in ``ww-aibot-img-1258476243.cos.*.myqcloud.com``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: float = Field(10.0, gt=0, le=300, description="for the whole download: name, connection, TLS, body")
    max_redirects: int = Field(3, ge=0, le=10)
    ports: tuple[Port, ...] = Field((80, 443), min_length=1)
    max_concurrent: int = Field(32, ge=1, le=1024, description="bodies received at a time, in fair turns by host")
    allowed_hosts: tuple[HostPattern, ...] = Field((), description="empty: any public host; else only what matches")
    blocked_ranges: Ranges = Field((), description="never reached: internal networks that use public addresses")
    private_ranges: dict[Host, Ranges] = Field({}, description="exact host name: non-public networks it may be in")
    headers: dict[HostPattern, Headers] = Field({}, description="host pattern: request headers; a later match wins")

    def allows(self, host: str) -> bool:
        """Whether pictures are fetched from a host of that (normalised) name."""
        return not self.allowed_hosts or any(matches(pattern, host) for pattern in self.allowed_hosts)

    def headers_for(self, host: str) -> dict[str, str]:
        """The extra request headers for a host, by lower-case name."""
        found = [extra for pattern, extra in self.headers.items() if matches(pattern, host)]
        return {name.lower(): value for extra in found for name, value in extra.items()}


def matches(pattern: str, host: str) -> bool:
    """Whether the host is the pattern's, label by label; an IP literal only equals itself."""
    if pattern == host or _is_address(host):
        return pattern == host
    labels, wanted = host.split("."), pattern.split(".")
    return len(labels) == len(wanted) and all(want in ("*", label) for want, label in zip(wanted, labels, strict=True))
