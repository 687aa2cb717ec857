"""Redirects: each hop is checked like the first address, and nothing travels from one host to another."""

import pytest

from deployments.errors import (
    BlockedAddress,
    FetchFailed,
    ImageUrlError,
    PortNotAllowed,
    TooManyRedirects,
    TuwenError,
    UnsupportedScheme,
)
from deployments.ingress.download.settings import FetchKnobs

from .internet import PICTURE, PUBLIC, Internet, by_path, fetched, moved, ok

pytestmark = pytest.mark.filterwarnings("error")

URL = "http://pictures.example.com/a.png"


def test_a_redirect_to_the_same_name_is_looked_up_and_checked_again() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC], ["127.0.0.1"]]})
    with pytest.raises(BlockedAddress):
        fetched(URL, moved("/b.png"), internet)
    assert internet.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://169.254.169.254/latest/meta-data/", BlockedAddress),
        ("http://[::ffff:169.254.169.254]/", BlockedAddress),
        ("//127.0.0.1/admin", BlockedAddress),
        ("http://2130706433/", BlockedAddress),
        ("http://localhost:80/", BlockedAddress),
        ("http://internal.example.com/", BlockedAddress),
        ("http://pictures.example.com:6379/", PortNotAllowed),
        ("//user:secret@pictures.example.com/", ImageUrlError),
        ("file:///etc/passwd", UnsupportedScheme),
        ("data:image/png;base64,AAAA", UnsupportedScheme),
        ("gopher://pictures.example.com/_x", UnsupportedScheme),
        ("http://pictures.example.com\\@127.0.0.1/", ImageUrlError),
        ("http://[/", ImageUrlError),
        ("http:///b.png", ImageUrlError),
        ("http:///127.0.0.1/", ImageUrlError),
        ("/a b", ImageUrlError),
        ("/" + "a" * 5_000, ImageUrlError),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_checked_like_the_first_address_and_not_told(
    location: str, error: type[TuwenError], status: int
) -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC]], "internal.example.com": [["10.1.2.3"]]})
    with pytest.raises(error) as caught:
        fetched(URL, moved(location, status), internet)
    assert internet.dialled == [(PUBLIC, 80)]
    assert caught.value.message.startswith("pictures.example.com ")
    for secret in ("169.254", "127.0.0.1", "10.1", "internal.example.com", "secret", "passwd", "6379", "localhost"):
        assert secret not in caught.value.message


@pytest.mark.parametrize(
    "location", ["b.png", "/b.png", "//pictures.example.com/b.png", "?b", "http://PICTURES.example.com./b.png#x"]
)
def test_a_relative_redirect_is_followed(location: str) -> None:
    answers = {"/a.png": moved(location), "/b.png": ok(), "/a.png?b": ok()}
    assert fetched(URL, by_path(answers)) == PICTURE


def test_three_redirects_are_followed_and_a_fourth_is_not() -> None:
    chain = {f"/{step}": moved(f"/{step + 1}") for step in range(4)}
    assert fetched("http://pictures.example.com/1", by_path(chain | {"/4": ok()})) == PICTURE
    with pytest.raises(TooManyRedirects):
        fetched("http://pictures.example.com/0", by_path(chain | {"/4": ok()}))


def test_a_loop_ends_when_it_closes() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC]]})
    with pytest.raises(TooManyRedirects):
        fetched("http://pictures.example.com/0", by_path({"/0": moved("/1"), "/1": moved("/0")}), internet)
    assert len(internet.dialled) == 2


def test_no_redirects_when_none_are_allowed() -> None:
    with pytest.raises(TooManyRedirects):
        fetched(URL, moved("/b.png"), knobs=FetchKnobs(max_redirects=0))


@pytest.mark.parametrize(
    "answer",
    [
        moved(""),
        b"HTTP/1.1 302 Found\r\n\r\n",
        b"HTTP/1.1 300 Choose\r\nLocation: /b\r\n\r\n",
    ],
)
def test_a_redirect_that_leads_nowhere_is_a_failure_of_the_server(answer: bytes) -> None:
    with pytest.raises(FetchFailed, match="answered with 3xx"):
        fetched(URL, answer)


def test_a_redirect_cannot_leave_the_allowed_hosts() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC]], "evil.org": [[PUBLIC]]})
    with pytest.raises(BlockedAddress):
        fetched(URL, moved("http://evil.org/"), internet, FetchKnobs(allowed_hosts=("*.example.com",)))
    assert internet.looked_up == ["pictures.example.com."]


def test_headers_of_one_host_do_not_travel_to_another() -> None:
    internet = Internet({"wework.qpic.cn": [[PUBLIC]], "pictures.example.com": [[PUBLIC]]})
    knobs = FetchKnobs.model_validate({"headers": {"*.qpic.cn": {"Referer": "https://work.weixin.qq.com/"}}})
    answers = {"/a": moved("http://pictures.example.com/b"), "/b": ok(PICTURE)}
    assert fetched("http://wework.qpic.cn/a", by_path(answers), internet, knobs) == PICTURE
    first, second = internet.requests
    assert "\r\nreferer: https://work.weixin.qq.com/\r\n" in first.lower()
    assert "referer" not in second.lower()


def test_each_hop_has_a_connection_of_its_own() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC]]})
    assert fetched(URL, by_path({"/a.png": moved("/b"), "/b": ok()}), internet) == PICTURE
    assert len(internet.dialled) == 2
