"""Which addresses a stranger's picture may be fetched from: those that anybody on the Internet can reach, and no other.

Sources: IANA's special-purpose address registries for IPv4 and IPv6 (RFC 6890 and its updates), and the providers'
documents for the addresses of cloud metadata. ``ipaddress.is_global`` alone would not do: its answers changed between
patch releases of Python, and it does not look into most IPv6 addresses that carry an IPv4 address.

What no list can know: a network's own NAT64 or 6rd prefix (RFC 6052, RFC 5969) and internal networks that use public
numbers. The operator names those in ``blocked_ranges``.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NOT_PUBLIC_V4 = tuple(map(IPv4Network, (
    "0.0.0.0/8",          # this network; Linux takes 0.0.0.0 for itself
    "10.0.0.0/8",         # private
    "100.64.0.0/10",      # carrier-grade NAT; Alibaba's metadata at 100.100.100.200
    "127.0.0.0/8",        # loopback
    "161.26.0.0/16",      # IBM Cloud's internal services, under a public number
    "166.8.0.0/14",       # IBM Cloud's internal services, under a public number
    "168.63.129.16/32",   # Azure's wire server, under a public number
    "169.254.0.0/16",     # link-local; metadata of most clouds
    "172.16.0.0/12",      # private
    "192.0.0.0/24",       # IETF protocol assignments
    "192.0.2.0/24",       # documentation
    "192.31.196.0/24",    # AS112, answered by the nearest node
    "192.52.193.0/24",    # AMT relays, answered by the nearest node
    "192.88.99.0/24",     # 6to4 relays, answered by the nearest node
    "192.168.0.0/16",     # private
    "192.175.48.0/24",    # AS112, answered by the nearest node
    "198.18.0.0/15",      # benchmarking
    "198.51.100.0/24",    # documentation
    "203.0.113.0/24",     # documentation
    "224.0.0.0/4",        # multicast
    "240.0.0.0/4",        # reserved, and broadcast
)))  # fmt: skip

GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
NOT_PUBLIC_V6 = tuple(map(IPv6Network, (
    "2001::/23",          # IETF protocol assignments: Teredo, benchmarking, ORCHID, ORCHIDv2, drone remote id, AMT
    "2001:db8::/32",      # documentation
    "2002::/16",          # 6to4: a tunnel to the IPv4 address inside, through whoever relays it
    "2620:4f:8000::/48",  # AS112, answered by the nearest node
    "3ffe::/16",          # the former 6bone, with Teredo's first prefix
    "3fff::/20",          # documentation
)))  # fmt: skip

# Both stand for the IPv4 address in their last 32 bits, and networks that have only IPv6 need them: ::ffff:0:0/96 is
# how a socket for both families writes IPv4 (RFC 4291), and DNS64 answers with 64:ff9b::/96 (RFC 6052).
TRANSLATED = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
# IPv4 in the last 32 bits as well: the compatible (RFC 4291) and the translated form (SIIT, RFC 2765).
_LAST_32_BITS = (*TRANSLATED, IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"))
_6TO4 = IPv6Network("2002::/16")
_TEREDO = (IPv6Network("2001::/32"), IPv6Network("3ffe:831f::/32"))
_ISATAP, _UNIVERSAL_OR_GROUP = 0x00005EFE, 0x03000000
_WORD = 0xFFFFFFFF

METADATA = tuple(map(ip_network, (
    "100.100.100.200/32",       # Alibaba Cloud
    "168.63.129.16/32",         # Azure's wire server
    "169.254.0.23/32",          # Tencent Cloud
    "169.254.42.42/32",         # Scaleway
    "169.254.169.0/24",         # AWS, Azure, Google, Oracle, OpenStack and most others
    "169.254.170.0/24",         # AWS containers
    "192.0.0.192/32",           # Oracle Cloud
    "fd00:42::42/128",          # Scaleway
    "fd00:c1::a9fe:a9fe/128",   # Oracle Cloud
    "fd00:ec2::/32",            # AWS
    "fd20:ce::254/128",         # Google Cloud
)))  # fmt: skip
"""What hands out a machine's credentials; no setting opens these."""


def is_allowed(address: Address, opened: Sequence[Network] = (), closed: Sequence[Network] = ()) -> bool:
    """Whether to connect: the address is public or in ``opened``, and neither in ``closed`` nor a cloud's metadata.

    ``closed`` and the metadata also hold for an IPv4 address inside; ``opened`` only for the address itself.
    """
    inside = embedded_ipv4(address) if isinstance(address, IPv6Address) else ()
    if _has_scope(address) or any(seen in network for seen in (address, *inside) for network in (*METADATA, *closed)):
        return False
    return is_public(address) or any(address in network for network in opened)


def is_public(address: Address) -> bool:
    """Whether the address is globally reachable unicast, and so is every IPv4 address that it carries."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_V4) and address.is_global
    if _has_scope(address) or not all(map(is_public, embedded_ipv4(address))):
        return False
    if any(address in network for network in TRANSLATED):
        return True
    # Outside 2000::/3: loopback, unique local, link-local, site-local, multicast, 64:ff9b:1::/48, SRv6 and the rest.
    public = address in GLOBAL_UNICAST_V6 and not any(address in network for network in NOT_PUBLIC_V6)
    return public and address.is_global


def embedded_ipv4(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Every IPv4 address that a published scheme reads out of an IPv6 address; empty when there is none.

    Mapped, compatible, translated and NAT64 (the last 32 bits), 6to4, Teredo (its server, and the client with its bits
    flipped) and ISATAP (an interface id of ``0:5efe:a.b.c.d``, with whatever universal and group bits).
    """
    bits, found = int(address), []
    if any(address in network for network in _LAST_32_BITS):
        found.append(bits & _WORD)
    if address in _6TO4:
        found.append(bits >> 80 & _WORD)
    if any(address in network for network in _TEREDO):
        found += [bits >> 64 & _WORD, ~bits & _WORD]
    if bits >> 32 & _WORD & ~_UNIVERSAL_OR_GROUP == _ISATAP:
        found.append(bits & _WORD)
    return tuple(map(IPv4Address, found))


def _has_scope(address: Address) -> bool:
    """``fe80::1%eth0`` means a network of this machine, whatever the number before the sign."""
    return isinstance(address, IPv6Address) and address.scope_id is not None
