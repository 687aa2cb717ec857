"""Where a download may go: the table of bad addresses, look-ups, and what is sent."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from deployments.errors import (
    BlockedAddress,
    FetchFailed,
    PortNotAllowed,
    TuwenError,
)
from deployments.ingress.download.addresses import Address
from deployments.ingress.download.fetch import Fetcher
from deployments.ingress.download.settings import FetchKnobs

from .conftest import Calls
from .internet import (
    MAX_BYTES,
    NO_TRUST,
    PICTURE,
    PUBLIC,
    PUBLIC_TOO,
    PUBLIC_V6,
    Internet,
    fetched,
    ok,
)
from .nameserver import NameServer

pytestmark = pytest.mark.filterwarnings("error")

URL = "http://pictures.example.com/a.png"


def refused(url: str, names: NameServer) -> TuwenError:
    """The error of a download over the real resolver, which asks ``names``, and the machine's network."""

    async def scenario() -> None:
        async with names.resolver() as resolve:
            await Fetcher(resolve, trust=NO_TRUST).fetch(url, FetchKnobs(), MAX_BYTES)

    with pytest.raises(TuwenError) as caught:
        asyncio.run(scenario())
    return caught.value


def test_a_picture_comes_as_it_was_sent() -> None:
    assert fetched(URL, ok()) == PICTURE


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost/x",
        "http://LOCALHOST./x",
        "http://pictures.localhost/x",
        "http://[::1]/x",
        "https://127.0.0.1/x",
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://kubernetes.default.svc.cluster.local/",
        "http://printer.local/",
        "http://router.home.arpa/",
        "http://100.100.100.200/",
        "http://100.64.0.1/",
        "http://168.63.129.16/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.1.1/",
        "http://0.0.0.0/",
        "http://255.255.255.255/",
        "http://[fd00::1]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[2606:4700::1111%eth0]/",
        "http://[fec0::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[::ffff:0:127.0.0.1]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[64:ff9b:1::8.8.8.8]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:a00:1::f5ff:fffe]/",
        "http://[2606:4700::5efe:10.0.0.1]/",
        "http://127。0。0。1/",
        "http://127.0.0.1./",
        "http://127.0.0.1:22/",
    ],
)
def test_an_address_that_is_not_public_is_refused_without_a_look_up_or_a_connection(url: str, calls: Calls) -> None:
    names = NameServer()
    assert isinstance(refused(url, names), BlockedAddress)
    assert calls.connected == calls.looked_up == names.asked == []


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "017700000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "127.0.0.01", "0", "0x", "2852039166", "127。1", "127.1."],
)  # fmt: skip
def test_every_other_spelling_of_an_ipv4_address_is_refused(host: str, calls: Calls) -> None:
    names = NameServer()
    assert isinstance(refused(f"http://{host}/", names), BlockedAddress)
    assert calls.connected == names.asked == []


def test_the_real_resolvers_answers_are_checked_and_tell_no_more_than_a_name_that_does_not_exist(calls: Calls) -> None:
    names = NameServer({
        "inside.example.com": ["10.0.0.7"],
        "pictures.example.com": [PUBLIC, "169.254.169.254"],
        "both.example.com": [PUBLIC, "::1"],
        "empty.example.com": [],
    })  # fmt: skip
    told = set()
    for host in ("inside", "pictures", "both", "empty", "unknown"):
        error = refused(f"http://{host}.example.com/", names)
        told.add((type(error), error.message.replace(host, "")))
    assert len(told) == 1
    assert told.pop()[0] is BlockedAddress
    assert set(names.asked) == {f"{host}.example.com" for host in ("inside", "pictures", "both", "empty", "unknown")}
    assert calls.connected == calls.looked_up == []


@pytest.mark.parametrize(
    "answers",
    [
        [PUBLIC, "10.0.0.1"],
        ["10.0.0.1", PUBLIC],
        [PUBLIC, "::1"],
        [PUBLIC] * 50 + ["169.254.169.254"],
        [PUBLIC_V6, "::ffff:10.0.0.1"],
        ["fe80::1%eth0", PUBLIC],
        ["64:ff9b::10.0.0.1"],
    ],
)
def test_one_answer_that_is_not_public_is_enough_to_refuse(answers: list[str]) -> None:
    internet = Internet({"pictures.example.com": [answers]})
    with pytest.raises(BlockedAddress) as caught:
        fetched(URL, ok(), internet)
    assert internet.dialled == []
    assert not any(answer in str(caught.value) for answer in answers)


@pytest.mark.parametrize("address", [PUBLIC_V6, f"64:ff9b::{PUBLIC}", f"::ffff:{PUBLIC}"])
def test_public_ipv6_and_translated_public_ipv4_are_served(address: str) -> None:
    internet = Internet({"pictures.example.com": [[address]]})

    async def scenario() -> bytes:
        async with internet.site(ok(), address=str(ip_address(address))):
            return await internet.fetcher().fetch(URL, FetchKnobs(), MAX_BYTES)

    assert asyncio.run(scenario()) == PICTURE


def test_a_rebinding_name_is_looked_up_once_and_the_connection_goes_to_that_answer() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC], ["127.0.0.1"]]})
    assert fetched(URL, ok(), internet) == PICTURE
    assert internet.looked_up == ["pictures.example.com."]
    assert internet.dialled == [(PUBLIC, 80)]


def test_search_domains_complete_only_names_that_the_operator_has_opened() -> None:
    internet = Internet({"redis.default": [["10.0.0.7"]]})
    opened = FetchKnobs(private_ranges={"redis.default": ["10.0.0.0/24"]})
    with pytest.raises(BlockedAddress):
        fetched("http://redis.default/", ok(), internet)
    with pytest.raises(FetchFailed):  # dialled, but nobody is there
        fetched("http://redis.default/", ok(), internet, opened)
    assert internet.dialled == [("10.0.0.7", 80)]
    assert internet.looked_up == ["redis.default.", "redis.default"]


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.example.com:22/",
        "http://pictures.example.com:6379/",
        "https://pictures.example.com:25/",
        "http://pictures.example.com:0/",
        "http://pictures.example.com:99999/",
    ],
)
def test_only_listed_ports(url: str) -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC]]})
    with pytest.raises(PortNotAllowed):
        fetched(url, ok(), internet)
    assert internet.looked_up == []
    assert internet.dialled == []


def test_a_listed_port_is_served_and_named_in_the_host_header() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC]]})

    async def scenario() -> bytes:
        async with internet.site(ok(), port=8080):
            knobs = FetchKnobs(ports=(8080,))
            return await internet.fetcher().fetch("http://pictures.example.com:8080/", knobs, MAX_BYTES)

    assert asyncio.run(scenario()) == PICTURE
    assert "\r\nhost: pictures.example.com:8080\r\n" in internet.requests[0].lower()


def test_a_host_that_is_not_allowed_is_not_even_looked_up() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC]]})
    with pytest.raises(BlockedAddress):
        fetched(URL, ok(), internet, FetchKnobs(allowed_hosts=("other.example.com",)))
    assert internet.looked_up == []
    assert fetched(URL, ok(), internet, FetchKnobs(allowed_hosts=("*.example.com",))) == PICTURE


def test_a_named_host_may_be_in_the_ranges_opened_for_it_and_nobody_else() -> None:
    names = {"pictures.example.com": [["169.254.0.47"]], "evil.org": [["169.254.0.47"]]}
    knobs = FetchKnobs.model_validate({"private_ranges": {"Pictures.example.com": ["169.254.0.47/32"]}})

    async def scenario(url: str) -> bytes:
        internet = Internet({name: list(answers) for name, answers in names.items()})
        async with internet.site(ok(), address="169.254.0.47"):
            return await internet.fetcher().fetch(url, knobs, MAX_BYTES)

    assert asyncio.run(scenario(URL)) == PICTURE
    with pytest.raises(BlockedAddress):
        asyncio.run(scenario("http://evil.org/"))
    with pytest.raises(BlockedAddress):
        asyncio.run(scenario("http://169.254.0.47/"))


def test_no_opened_range_reaches_the_metadata() -> None:
    internet = Internet({"pictures.example.com": [["169.254.169.254"]]})
    with pytest.raises(BlockedAddress):
        fetched(
            URL, ok(), internet, FetchKnobs.model_validate({"private_ranges": {"pictures.example.com": ["0.0.0.0/0"]}})
        )


@pytest.mark.parametrize("address", [PUBLIC, f"64:ff9b::{PUBLIC}"])
def test_a_blocked_range_is_never_reached(address: str) -> None:
    internet = Internet({"pictures.example.com": [[address]]})
    with pytest.raises(BlockedAddress):
        fetched(URL, ok(), internet, FetchKnobs.model_validate({"blocked_ranges": ["93.184.216.0/24"]}))


def test_a_second_address_is_tried_once_and_of_the_other_family_if_there_is_one() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC_V6, "2606:2800:220:1::2", "2606:2800:220:1::3", PUBLIC]]})
    assert fetched(URL, ok(), internet) == PICTURE
    assert internet.dialled == [(PUBLIC_V6, 80), (PUBLIC, 80)]


def test_an_address_that_never_answers_leaves_time_for_the_next() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC_TOO, PUBLIC]]}, never_answer=frozenset([PUBLIC_TOO]))
    assert fetched(URL, ok(), internet, FetchKnobs(timeout_s=2)) == PICTURE


def test_no_connection_and_no_name_are_failures_that_tell_no_more() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC_TOO]], "empty.example.com": [[]]})
    with pytest.raises(FetchFailed) as nobody:
        fetched(URL, ok(), internet)
    with pytest.raises(FetchFailed) as junk:
        fetched(URL, b"SSH-2.0-OpenSSH_9.6\r\n")
    assert nobody.value.message == junk.value.message
    assert PUBLIC_TOO not in nobody.value.message
    for url in ("http://unknown.example.com/", "http://empty.example.com/"):
        with pytest.raises(BlockedAddress, match="does not lead to a public address: check its spelling"):
            fetched(url, ok(), internet)


@pytest.mark.parametrize("fault", [OSError("server failure"), UnicodeError("label too long"), TimeoutError()])
def test_a_name_that_cannot_be_looked_up_is_not_said_to_be_wrong(fault: Exception) -> None:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        raise fault

    with pytest.raises(FetchFailed, match="could not be looked up"):
        asyncio.run(Fetcher(resolve, trust=NO_TRUST).fetch(URL, FetchKnobs(), MAX_BYTES))


def test_what_is_sent_is_only_what_a_picture_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    internet = Internet({"pictures.example.com": [[PUBLIC]]})
    fetched("http://pictures.example.com/a.png?q=1#part", ok(PICTURE, "Set-Cookie: a=b"), internet)
    line, *headers = internet.requests[0].strip().lower().split("\r\n")
    assert line == "get /a.png?q=1 http/1.1"
    assert sorted(headers) == [
        "accept-encoding: identity",
        "accept: image/*",
        "connection: close",
        "host: pictures.example.com",
        "user-agent: tuwen/0.1",
    ]


def test_a_turn_is_given_back_on_every_path() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC]]})

    async def scenario() -> bytes:
        fetcher, knobs = internet.fetcher(), FetchKnobs(max_concurrent=1)
        for url in ("http://nobody.example.com/", "http://127.0.0.1/", "http://pictures.example.com:22/"):
            with pytest.raises(TuwenError):
                await fetcher.fetch(url, knobs, MAX_BYTES)
        async with internet.site(ok()):
            return await fetcher.fetch(URL, knobs, MAX_BYTES)

    assert asyncio.run(scenario()) == PICTURE
