"""The one parser of a picture's URL: what it returns is what is checked and what is asked for."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import httpx2

from deployments.errors import BlockedAddress, CredentialsInUrl, ImageUrlError, UnsupportedScheme
from deployments.ingress.download.addresses import Address

MAX_URL_CHARS = 2_048
DEFAULT_PORTS = {"http": 80, "https": 443}

_AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(?:\[[^][]*\]|[^][:]+)(?::[0-9]{0,5})?")
_NAME = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
# No top-level domain is a number: a name that ends in one is an IPv4 address in a spelling of its own (octal,
# hexadecimal, fewer parts). C libraries disagree on what it means; the WHATWG's URL standard allows no such names.
_NUMBER_LAST = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)
# Names that never are on the Internet (RFC 6761, 6762, 8375; ICANN's .internal; a single label): not even looked up,
# lest the answer tell which of them exist. Kubernetes' cluster.local is one.
_LOCAL_NAME = re.compile(r"(?:.*\.)?(?:localhost|localdomain|local|internal|home\.arpa)|[^.]+")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its normal form. ``host`` is lower-case ASCII without brackets or a last dot; ``address`` its literal.

    ``target`` is the path and the query, as they are asked for.
    """

    scheme: str
    host: str
    port: int
    target: str
    address: Address | None

    @property
    def authority(self) -> str:
        """What the ``Host`` header says: the port only where it is not the scheme's."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_local_name(self) -> bool:
        """Whether the name means something on this machine or network only."""
        return self.address is None and _LOCAL_NAME.fullmatch(self.host) is not None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str, base: Target | None = None) -> Target:
    """The target that a URL names; ``base`` is what a relative one (a redirect's) stands beside.

    Raises:
        ImageUrlError: too long, unprintable, or no proper host and port.
        UnsupportedScheme: anything but http and https.
        CredentialsInUrl: a user or password before the host.
        BlockedAddress: an IPv4 address in a spelling of its own.
    """
    _check_characters(text)
    if base is not None and not _AUTHORITY.match(text):
        text = _joined(base, text)
    _check_authority(text)
    try:
        url = httpx2.URL(text)
        host = url.raw_host.decode("ascii").removesuffix(".")  # fails where a scope, as in %eth0, is not ASCII
    except (httpx2.InvalidURL, ValueError) as fault:
        raise ImageUrlError("the picture's address is not a proper URL: check its spelling") from fault
    address = _literal(host)
    return Target(
        scheme=url.scheme,
        host=host if address is None else str(address),
        port=DEFAULT_PORTS[url.scheme] if url.port is None else url.port,
        target=url.raw_path.decode("ascii"),
        address=address,
    )


def _check_characters(text: str) -> None:
    if len(text) > MAX_URL_CHARS:
        raise ImageUrlError(f"the picture's address has {len(text)} characters, more than the {MAX_URL_CHARS} allowed")
    # Parsers disagree on backslashes, and drop or keep white space and control characters; nobody needs them here.
    if any(character in " \\" or not character.isprintable() for character in text):
        raise ImageUrlError("the picture's address has spaces, backslashes or control characters: percent-encode them")


def _check_authority(text: str) -> None:
    """What httpx2 would tolerate or repair between the scheme and the path, and we do not."""
    found = _AUTHORITY.match(text)
    if found is None:
        raise UnsupportedScheme("the picture's address must start with http:// or https://")
    authority = found[1]
    if "@" in authority:
        raise CredentialsInUrl("the picture's address has a user or password: send one that works without")
    if not _HOST_AND_PORT.fullmatch(authority):
        raise ImageUrlError("the picture's address has no proper host and port: check its spelling")
    _check_numbers(authority.partition(":")[0].removesuffix("."))


def _joined(base: Target, location: str) -> str:
    try:
        return str(httpx2.URL(str(base)).join(location))
    except (httpx2.InvalidURL, ValueError) as fault:
        raise ImageUrlError("the redirect is not a proper URL") from fault


def _check_numbers(host: str) -> None:
    if _NUMBER_LAST.fullmatch(host) and not _is_ipv4(host):
        raise BlockedAddress("the host is a number in an unusual spelling: write a name or a plain address")


def _literal(host: str) -> Address | None:
    """The address that the host is, or None for a name."""
    if ":" in host:
        return IPv6Address(host)  # httpx2 has parsed it so already
    if _is_ipv4(host):
        return IPv4Address(host)
    _check_numbers(host)  # once more: IDNA turns ideographic full stops into dots
    if not _NAME.fullmatch(host):
        raise ImageUrlError("the picture's address has no proper host name: check its spelling")
    return None


def _is_ipv4(text: str) -> bool:
    try:
        return IPv4Address(text) is not None
    except AddressValueError:
        return False
