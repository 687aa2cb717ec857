"""Which addresses may be connected to: every special range and every way to carry an IPv4 address inside IPv6."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployments.ingress.download.addresses import METADATA, NOT_PUBLIC_V4, embedded_ipv4, is_allowed, is_public


@pytest.mark.parametrize(
    "text",
    ["1.1.1.1", "8.8.8.8", "93.184.216.34", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "1.0.0.0",
     "2001:4860:4860::8888", "2606:4700:4700::1111", "2400:3200::1", "2a00:1450:4001::1", "2001:200::1", "2003::1", "240e::1",
     "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b::101:101"],
)  # fmt: skip
def test_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "network",
    ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "100.100.100.200/32",
     "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32", "2001:1::1/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28", "2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16", "3ffe::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fd00:ec2::254/128", "fe80::/10", "fec0::/10", "ff00::/8", "4000::/3", "e000::/4", "200::/7", "64:ff9a::/32", "0:1::/32"],
)  # fmt: skip
def test_special_ranges_are_not_public_from_first_to_last(network: str) -> None:
    whole = ip_network(network)
    for address in (whole[0], whole[whole.num_addresses // 2], whole[-1]):
        assert not is_public(address), address


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fe80::1%1", "2606:4700::1111%eth0", "::ffff:8.8.8.8%lo"])
def test_an_address_with_a_scope_is_not_public_nor_ever_allowed(text: str) -> None:
    assert not is_public(IPv6Address(text))
    assert not is_allowed(IPv6Address(text), opened=(IPv6Network("::/0"),))


Embed = Callable[[int], int]
EMBEDDINGS: dict[str, Embed] = {
    "mapped": lambda inner: 0xFFFF << 32 | inner,
    "compatible": lambda inner: inner,
    "translated": lambda inner: 0xFFFF << 48 | inner,
    "NAT64": lambda inner: 0x64FF9B << 96 | inner,
    "6to4": lambda inner: 0x2002 << 112 | inner << 80 | 1,
    "Teredo server": lambda inner: 0x20010000 << 96 | inner << 64 | 0xF7F7F7F7,
    "Teredo client": lambda inner: 0x20010000 << 96 | 0x08080808 << 64 | (inner ^ 0xFFFFFFFF),
    "old Teredo client": lambda inner: 0x3FFE831F << 96 | 0x08080808 << 64 | (inner ^ 0xFFFFFFFF),
    "ISATAP": lambda inner: 0x2606470000000000 << 64 | 0x00005EFE << 32 | inner,
    "ISATAP, universal": lambda inner: 0x2606470000000000 << 64 | 0x02005EFE << 32 | inner,
    "ISATAP, group": lambda inner: 0x2606470000000000 << 64 | 0x03005EFE << 32 | inner,
}

SPECIAL_V4 = st.sampled_from(NOT_PUBLIC_V4).flatmap(
    lambda network: st.integers(int(network[0]), int(network[-1])).map(IPv4Address)
)


@pytest.mark.parametrize("embed", EMBEDDINGS.values(), ids=EMBEDDINGS.keys())
@given(inner=SPECIAL_V4)
def test_an_ipv4_address_that_is_not_public_stays_so_in_every_embedding(embed: Embed, inner: IPv4Address) -> None:
    outer = IPv6Address(embed(int(inner)))
    assert inner in embedded_ipv4(outer)
    assert not is_public(outer)


@given(inner=SPECIAL_V4, position=st.sampled_from([40, 48, 56, 64, 80]), low=st.integers(0, (1 << 40) - 1))
def test_local_nat64_is_refused_wherever_its_prefix_puts_the_ipv4(inner: IPv4Address, position: int, low: int) -> None:
    shifted = (int(inner) << position) & ((1 << 80) - 1)
    assert not is_public(IPv6Address(0x64FF9B0001 << 80 | shifted | low))


@pytest.mark.parametrize("scheme", ["mapped", "NAT64"])
@given(inner=st.ip_addresses(v=4))
def test_translated_addresses_are_as_public_as_what_they_stand_for(scheme: str, inner: IPv4Address) -> None:
    assert is_public(IPv6Address(EMBEDDINGS[scheme](int(inner)))) == is_public(inner)


def never_public(address: IPv6Address) -> bool:
    """What must not pass, said another way: by the address's sixteen bytes and its groups in full spelling."""
    raw, groups = address.packed, address.exploded.split(":")
    inside = []
    if groups[:6] == ["0000"] * 5 + ["ffff"] or groups[:6] == ["0064", "ff9b"] + ["0000"] * 4:
        return v4_never_public(raw[12:])
    if groups[0] == "2002":
        inside.append(raw[2:6])
    if groups[:2] == ["2001", "0000"]:
        inside += [raw[4:8], bytes(255 - byte for byte in raw[12:])]
    if raw[8] & 0xFC == 0 and raw[9:12] == b"\x00\x5e\xfe":
        inside.append(raw[12:])
    outside = groups[0][0] not in "23"
    documentation = groups[:2] == ["2001", "0db8"] or (groups[0] == "3fff" and groups[1][0] == "0")
    assigned = groups[0] == "2001" and groups[1] < "0200"
    return outside or documentation or assigned or groups[0] == "2002" or any(map(v4_never_public, inside))


def v4_never_public(raw: bytes) -> bool:
    a, b, c, d = raw
    return (
        a in (0, 10, 127)
        or a >= 224
        or (a == 100 and 64 <= b < 128)
        or (a == 172 and 16 <= b < 32)
        or (a, b) in {(169, 254), (192, 168), (198, 18), (198, 19)}
        or (a, b, c) in {(192, 0, 0), (192, 0, 2), (192, 88, 99), (198, 51, 100), (203, 0, 113)}
        or (a, b, c, d) == (168, 63, 129, 16)
    )


PREFIXES = st.sampled_from([0x20010000 << 96, 0x2002 << 112, 0x64FF9B << 96, 0xFFFF << 32, 0xFFFF << 48, 0, 0xFE80 << 112, 0xFC00 << 112, 0x20010DB8 << 96, 0x3FFF << 112, 0x2606 << 112, 0x64FF9B0001 << 80, 0x2001 << 112])  # fmt: skip
SOME_V6 = st.one_of(
    st.integers(0, (1 << 128) - 1),
    st.builds(lambda prefix, rest: prefix | rest, PREFIXES, st.integers(0, (1 << 64) - 1)),
    st.builds(lambda prefix, rest: prefix | rest, PREFIXES, st.integers(0, (1 << 32) - 1)),
    st.builds(lambda high, inner: high << 64 | 0x5EFE << 32 | inner, st.integers(0, (1 << 64) - 1), st.integers(0, 0xFFFFFFFF)),
)  # fmt: skip


@given(bits=SOME_V6)
@example(bits=1)
def test_no_ipv6_address_passes_that_another_formulation_refuses(bits: int) -> None:
    address = IPv6Address(bits)
    assert not (is_public(address) and never_public(address))


@given(address=st.ip_addresses(v=4))
def test_no_ipv4_address_passes_that_another_formulation_refuses(address: IPv4Address) -> None:
    assert not (is_public(address) and v4_never_public(address.packed))


@pytest.mark.parametrize("network", METADATA, ids=str)
def test_no_range_opens_a_clouds_metadata(network: IPv4Network | IPv6Network) -> None:
    everything = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    assert not is_allowed(network[0], opened=everything)
    if isinstance(network, IPv4Network):
        for embed in EMBEDDINGS.values():
            assert not is_allowed(IPv6Address(embed(int(network[0]))), opened=everything)


@pytest.mark.parametrize(
    ("text", "opened", "closed", "allowed"),
    [
        ("10.0.0.1", [], [], False),
        ("10.0.0.1", ["10.0.0.0/24"], [], True),
        ("10.0.1.1", ["10.0.0.0/24"], [], False),
        ("10.0.0.1", ["10.0.0.0/24"], ["10.0.0.1/32"], False),
        ("::ffff:10.0.0.1", ["10.0.0.0/24"], [], False),
        ("fd12::1", ["fd12::/16"], [], True),
        ("8.8.8.8", [], [], True),
        ("8.8.8.8", [], ["8.8.0.0/16"], False),
        ("64:ff9b::8.8.8.8", [], ["8.8.0.0/16"], False),
        ("2606:4700::1", [], ["2606:4700::/32"], False),
        ("2606:4700::1", [], ["8.8.0.0/16"], True),
    ],
)
def test_what_is_closed_stays_closed_and_what_is_opened_is_only_that(
    text: str, opened: list[str], closed: list[str], allowed: bool
) -> None:
    assert is_allowed(ip_address(text), tuple(map(ip_network, opened)), tuple(map(ip_network, closed))) is allowed
