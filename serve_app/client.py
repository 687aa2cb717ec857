"""HTTP calls as the command line makes them: addresses as people type them, proxies, answers bounded in size and time.

A loopback address is called directly, whatever proxy the environment names; for others the environment's proxies hold
(``NO_PROXY`` names exceptions), and what goes wrong behind a proxy is told with its name. Redirects are not followed: a
key goes only where it was meant to.
"""

import ipaddress
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError

from serve_app.exits import one_line

LARGEST_REPLY_BYTES = 16 * 1024 * 1024
PIECE_BYTES = 64 * 1024


class AddressError(ValueError):
    """What was given as an address is none; the message says what would be."""


class Unreachable(Exception):
    """Nobody answered, or not in time, or not as this service does."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. ``body`` is the JSON, or None if it is none."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: Any

    def foreign(self) -> str:
        """The sentence for an answer that is not this service's."""
        kind = one_line(self.headers.get("content-type", "no content type"), 60)
        lead = self.headers.get("location")
        told = f"sends on to {one_line(lead, 200)}" if lead else f"answered {self.status} ({kind})"
        return f"{self.url} {told}, which is not this service{_through(self.url)}"


def service_address(text: str) -> str:
    """The address of a service or dashboard, without a slash at its end. Raises AddressError."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as fault:
        raise AddressError(f"{one_line(text)!r} is no address: {fault}") from fault
    if "://" not in text:
        raise AddressError(f"{one_line(text)!r} has no scheme: did you mean http://{one_line(text)}?")
    if parts.scheme not in ("http", "https"):
        raise AddressError(f"{one_line(text)!r}: an address starts with http:// or https://")
    if not _is_host(parts.hostname) or port == 0 or not text.isprintable() or " " in text:
        raise AddressError(f"{one_line(text)!r} is no address: give one like http://127.0.0.1:8000")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise AddressError(f"{_without_user(text)!r}: give scheme, host, port and path only, no user, ? or #")
    return text.rstrip("/")


def call(
    url: str, timeout_s: float, headers: Mapping[str, str] | None = None, form: Mapping[str, Any] | None = None
) -> Reply:
    """``GET``, or ``POST`` of a form (``files`` and ``data`` as requests takes them). Raises Unreachable."""
    deadline = time.monotonic() + timeout_s
    try:
        with session_for(url) as session:
            response = session.request(
                "GET" if form is None else "POST",
                url,
                headers={"Accept-Encoding": "identity", **(headers or {})},
                timeout=timeout_s,
                allow_redirects=False,
                stream=True,
                **(form or {}),
            )
            content = _content(response, deadline)
    except (requests.exceptions.RequestException, HTTPError, OSError, ValueError) as fault:
        raise Unreachable(_reason(fault, url, timeout_s)) from fault
    return Reply(url, response.status_code, response.headers, _json(content))


def session_for(url: str) -> requests.Session:
    """A session that takes from the environment no passwords (``~/.netrc``), and for loopback no proxies."""
    session = requests.Session()
    session.auth = _as_it_is
    session.trust_env = not is_loopback(urlsplit(url).hostname or "")
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    return session


def is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".").split(".")[-1] == "localhost"
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stands where requests would else look a password up and overwrite the key."""
    return request


def _is_host(host: str | None) -> bool:
    try:
        return bool(host) and bool(str(host).encode("idna"))
    except UnicodeError:
        return False


def _content(response: requests.Response, deadline: float) -> bytes:
    """The body, piece by piece, so that neither its size nor a slow trickle goes on without an end."""
    read: Callable[[int], bytes] = response.raw.read1
    pieces, size = [], 0
    while piece := read(PIECE_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_REPLY_BYTES:
            raise ValueError("more than an answer ever has")
        if time.monotonic() > deadline:
            raise requests.exceptions.ReadTimeout
    return b"".join(pieces)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _reason(fault: Exception, url: str, timeout_s: float) -> str:
    inner = fault.args[0] if fault.args else fault
    cause = getattr(inner, "reason", inner)
    if _proxy_of(url) and isinstance(fault, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
        return f"no way to {url}{_through(url)}: the proxy does not answer as one"
    if isinstance(fault, requests.exceptions.Timeout):
        return f"no answer from {url} within {timeout_s:g} s{_through(url)}"
    if isinstance(fault, requests.exceptions.SSLError):
        return f"{url}: TLS failed{_through(url)}: {one_line(cause, 200)}"
    if isinstance(cause, NameResolutionError):
        return f"the name {urlsplit(url).hostname} has no address{_through(url)}"
    if isinstance(cause, NewConnectionError):
        return f"nobody listens at {url}{_through(url)}: is the service running? (`serve run serve_config.yaml`)"
    return f"{url} did not answer as this service does{_through(url)}: {one_line(cause, 200)}"


def _through(url: str) -> str:
    """Names the proxy that a call went through; nothing for a direct one."""
    proxy = _proxy_of(url)
    if proxy is None:
        return ""
    return f" through the proxy {_without_user(proxy)} of the environment (NO_PROXY={urlsplit(url).hostname} avoids it)"


def _proxy_of(url: str) -> str | None:
    if is_loopback(urlsplit(url).hostname or ""):
        return None
    found: str | None = select_proxy(url, get_environ_proxies(url))
    return found


def _without_user(address: str) -> str:
    """The address, with a user and password in it left out."""
    scheme, mark, rest = one_line(address).rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
