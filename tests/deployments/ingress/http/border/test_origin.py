"""Which pages a browser lets ask here, and under which names: a table of hosts and origins."""

import asyncio
import hashlib

import pytest
from starlette.datastructures import Headers

from deployments.ingress.http.border.origin import refusal_of
from deployments.ingress.settings import IngressKnobs

from ...conftest import Service, served
from ..asgi import ASKING, FORM, body_of, call, receiving, scope_of

KEYS = (hashlib.sha256(b"key").hexdigest(),)
HOST, ORIGIN = "host_not_allowed", "origin_not_allowed"


@pytest.fixture
def service() -> Service:
    """Its scopes are written by hand, prefix and all."""
    return served("")


def refused(method="POST", hosts=(), origins=(), keys=(), allowed=(), **others) -> str | None:
    """The refusal's code, if there is one."""
    headers = [("host", host) for host in hosts] + [("origin", origin) for origin in origins] + list(others.items())
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers]
    refusal = refusal_of(Headers(raw=raw), method, IngressKnobs(api_key_sha256=keys, allowed_hosts=allowed))
    return refusal and refusal.code


LED_HERE_BY_RIGHT = [
    "localhost", "localhost:8000", "LOCALHOST:8000", "LocalHost.", "localhost.:8000", "app.localhost", "a.b.localhost:80",
    "127.0.0.1", "127.0.0.1:8000", "127.1.2.3", "10.0.0.5:80", "192.168.1.7", "8.8.8.8", "0.0.0.0:8000",
    "[::1]", "[::1]:8000", "[2001:DB8::1]:8000", "[::ffff:127.0.0.1]:8000", "127.0.0.1.",
]  # fmt: skip
MAYBE_REBOUND = [
    "evil.com", "evil.com:8000", "localhost.evil.com", "evil-localhost", "xlocalhost", "127.0.0.1.nip.io",
    "127.0.0.1.evil.com:8000", "127-0-0-1.nip.io", "localtest.me", "2130706433", "0x7f.1", "0x7f000001", "017700000001",
    "127.1", "127.0.1", "localhost..", "localhost:8000:8000", "user@localhost", "localhost/evil.com", "localhost@evil.com",
    "[::1", "::1]", "[localhost]", "[::1]x", "[::1%25eth0]", "localhost\\evil.com", "localhost evil.com", "localhost,evil.com",
    "ⅼocalhost".encode().decode("latin-1"), "xn--localhost", "localhost:", "localhost:x", "localhost:123456", ":8000", "*", ".",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("host", LED_HERE_BY_RIGHT)
def test_loopback_names_and_bare_addresses_lead_here_by_right(host, method):
    assert refused(method, [host]) is None


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("host", MAYBE_REBOUND)
def test_any_other_name_may_have_been_bound_to_us(host, method):
    assert refused(method, [host]) == HOST


@pytest.mark.parametrize("host", ["evil.com", "tuwen.example.com:8443", "2130706433"])
def test_where_keys_are_asked_for_every_name_may_lead_here(host):
    assert refused("POST", [host], keys=KEYS) is None


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("tuwen.example.com", True),
        ("TUWEN.example.com.:8000", True),
        ("a.wild.example", True),
        ("wild.example", False),
        ("a.b.wild.example", False),
        ("tuwen.example.com.evil.com", False),
        ("example.com", False),
        ("localhost", True),
    ],
)
def test_the_operator_s_names_lead_here_too(host, allowed):
    assert refused("GET", [host], allowed=("tuwen.example.com", "*.wild.example")) == (None if allowed else HOST)


def test_a_request_without_a_host_is_no_browser_s_and_one_with_two_is_nobody_s():
    assert refused("POST") is None
    assert refused("POST", [""]) is None
    assert refused("POST", ["localhost", "localhost"]) == "invalid_request"
    assert refused("GET", ["localhost", "evil.com"], keys=KEYS) == "invalid_request"


ORIGINS = [  # Host, Origin, whether the page may ask
    ("localhost:8000", "http://localhost:8000", True),
    ("LOCALHOST:8000", "http://localhost:8000", True),
    ("127.0.0.1:8000", "http://127.0.0.1:8000", True),
    ("[::1]:8000", "http://[::1]:8000", True),
    ("localhost", "http://localhost", True),
    ("localhost:80", "http://localhost", True),
    ("localhost", "https://localhost", True),  # a balancer in front ends TLS
    ("localhost:8443", "https://localhost:8443", True),
    ("localhost:8000", "http://localhost:3000", False),
    ("localhost:8000", "http://localhost", False),
    ("localhost", "https://localhost:80", False),
    ("localhost:443", "http://localhost", False),
    ("127.0.0.1:8000", "http://localhost:8000", False),
    ("localhost:8000", "http://app.localhost:8000", False),
    ("localhost:8000", "http://evil.com", False),
    ("localhost:8000", "http://evil.com:8000", False),
    ("localhost:8000", "http://localhost.evil.com:8000", False),
    ("localhost:8000", "http://localhost:8000@evil.com", False),
    ("localhost:8000", "http://evil.com/localhost:8000", False),
    ("localhost:8000", "null", False),
    ("localhost:8000", "file://", False),
    ("localhost:8000", "chrome-extension://abcdefgh", False),
    ("localhost:8000", "", False),
    ("localhost:8000", "localhost:8000", False),
    ("localhost:8000", "http://localhost:x", False),
    ("localhost:8000", "http://localhost:99999", False),
    ("localhost:8000", "http://[::1", False),
    ("", "http://localhost", False),
]


@pytest.mark.parametrize("keys", [(), KEYS])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
@pytest.mark.parametrize(("host", "origin", "own"), ORIGINS)
def test_only_our_own_pages_ask(host, origin, own, method, keys):
    assert refused(method, [host] if host else [], [origin], keys) == (None if own else ORIGIN)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://shop.example.com", True),
        ("http://shop.example.com:3000", True),
        ("https://SHOP.example.com", True),
        ("https://shop.example.com.", True),
        ("https://evil.com", False),
        ("https://shop.example.com.evil.com", False),
        ("https://evil.com?shop.example.com", False),
        ("null", False),
    ],
)
@pytest.mark.parametrize("keys", [(), KEYS])
def test_pages_of_hosts_that_the_operator_allows_ask_too(origin, allowed, keys):
    code = refused("POST", ["localhost:8000"], [origin], keys, allowed=("shop.example.com",))
    assert code == (None if allowed else ORIGIN)


def test_one_foreign_origin_among_several_is_enough():
    assert refused("POST", ["localhost"], ["http://localhost", "http://evil.com"]) == ORIGIN


def test_behind_a_balancer_that_ends_tls_the_page_asks_under_its_name():
    host, origin = "tuwen.example.com", "https://tuwen.example.com"
    assert refused("POST", [host], [origin], KEYS) is None
    assert refused("POST", [host], [origin], allowed=(host,)) is None
    assert refused("POST", [host], [origin]) == HOST


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_foreign_page_may_look_without_being_told(service, method):
    headers = [("Host", "localhost"), ("Origin", "http://evil.com"), ("Sec-Fetch-Site", "cross-site")]
    sent = asyncio.run(call(service.client.app, scope_of(method, "/healthz", headers)))
    assert sent.status != 403
    assert "access-control-allow-origin" not in sent.headers


def test_programs_send_no_origin():
    assert refused("POST", ["localhost:8000"], sec_fetch_site="cross-site") == ORIGIN
    assert refused("POST", ["localhost:8000"], sec_fetch_site="same-origin") is None
    assert refused("POST", ["localhost:8000"]) is None


def test_a_form_that_a_page_elsewhere_posts_reaches_nothing(service):
    headers = [FORM, ("Host", "127.0.0.1:8000"), ("Origin", "https://evil.com"), ("Sec-Fetch-Mode", "navigate")]
    scope = scope_of("POST", "/v1/ask", headers)
    sent = asyncio.run(call(service.client.app, scope, receiving(body_of(ASKING))))
    assert sent.refusal == (403, ORIGIN)
    assert (service.model.questions, service.preprocessor.calls) == ([], 0)


def test_a_rebound_name_reads_nothing(service):
    sent = asyncio.run(call(service.client.app, scope_of("GET", "/v1/models", [("Host", "evil.com:8000")])))
    assert sent.refusal == (403, HOST)
