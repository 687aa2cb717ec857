"""The knobs of downloads: what is refused when they are set, and what they say about a host."""

from typing import Any

import pytest
from pydantic import ValidationError

from deployments.ingress.download.settings import FetchKnobs


@pytest.mark.parametrize(
    "knobs",
    [
        {"timeout_s": 0},
        {"max_redirects": -1},
        {"ports": []},
        {"ports": [0]},
        {"ports": [65536]},
        {"max_concurrent": 0},
        {"unknown": 1},
        {"allowed_hosts": [""]},
        {"allowed_hosts": ["*"]},
        {"allowed_hosts": ["*.*"]},
        {"allowed_hosts": ["a*.example.com"]},
        {"allowed_hosts": ["http://example.com"]},
        {"allowed_hosts": ["example.com:80"]},
        {"allowed_hosts": ["exa mple.com"]},
        {"allowed_hosts": ["例.com"]},
        {"private_ranges": {"*.example.com": ["10.0.0.0/8"]}},
        {"private_ranges": {"example.com": ["10.0.0.1/8"]}},
        {"private_ranges": {"example.com": ["anything"]}},
        {"blocked_ranges": ["8.8.8.8.8"]},
        {"headers": {"example.com": {"Referer": "a\r\nHost: b"}}},
        {"headers": {"example.com": {"Referer": "a\nb"}}},
        {"headers": {"example.com": {"Referer": "a\x00"}}},
        {"headers": {"example.com": {"Referer": " a"}}},
        {"headers": {"example.com": {"Referer": ""}}},
        {"headers": {"example.com": {"Referer": "中"}}},
        {"headers": {"example.com": {"Re ferer": "a"}}},
        {"headers": {"example.com": {"Referer:": "a"}}},
        {"headers": {"example.com": {"X\r\nHost": "a"}}},
        *({"headers": {"example.com": {name: "a"}}} for name in ("Host", "AUTHORIZATION", "cookie", "Transfer-Encoding", "Content-Length", "Connection", "Accept-Encoding", "Range")),
    ],
)  # fmt: skip
def test_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FetchKnobs.model_validate(knobs)


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("example.com", "example.com", True),
        ("Example.COM.", "example.com", True),
        ("example.com", "a.example.com", False),
        ("example.com", "badexample.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "a.example.com.evil.org", False),
        ("bucket-1.cos.*.myqcloud.com", "bucket-1.cos.ap-guangzhou.myqcloud.com", True),
        ("bucket-1.cos.*.myqcloud.com", "evil-2.cos.ap-guangzhou.myqcloud.com", False),
        ("93.184.216.34", "93.184.216.34", True),
        ("*.184.216.34", "93.184.216.34", False),
        ("2606:4700:0::1111", "2606:4700::1111", True),
    ],
)
def test_allowed_hosts(pattern: str, host: str, allowed: bool) -> None:
    assert FetchKnobs(allowed_hosts=(pattern,)).allows(host) is allowed


def test_no_list_allows_every_host() -> None:
    assert FetchKnobs().allows("example.com")


def test_headers_of_all_patterns_apply_and_a_later_one_wins() -> None:
    headers = {
        "*.example.com": {"Referer": "a", "X-A": "1"},
        "b.example.com": {"referer": "b"},
        "other.org": {"X-B": "2"},
    }
    knobs = FetchKnobs(headers=headers)
    assert knobs.headers_for("b.example.com") == {"referer": "b", "x-a": "1"}
    assert knobs.headers_for("example.com") == {}
