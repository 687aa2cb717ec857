"""Downloads over TLS: the certificate must be the name's, although the connection is to a checked address."""

import asyncio
import datetime
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployments.errors import FetchFailed, FetchTimeout, TlsFailed, TuwenError, UnsupportedScheme
from deployments.ingress.download.dialing import trust_of_the_system
from deployments.ingress.download.settings import FetchKnobs

from .internet import MAX_BYTES, PICTURE, PUBLIC, PUBLIC_V6, Internet, Respond, by_path, forever, moved, ok

pytestmark = pytest.mark.filterwarnings("error")

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass
class Authority:
    """Signs certificates of test servers."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    name: x509.Name = field(
        default_factory=lambda: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
    )

    def trust(self) -> ssl.SSLContext:
        own = self._signed(self.name, self.key, NOW + DAY, [], is_authority=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=own.public_bytes(serialization.Encoding.PEM).decode())
        return context

    def server(self, *names: str, until: datetime.datetime = NOW + DAY) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        signed = self._signed(subject, key, until, list(names), is_authority=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self.folder / f"{len(list(self.folder.iterdir()))}.pem"
        path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        until: datetime.datetime,
        names: list[str],
        is_authority: bool,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 3 * DAY)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
        return builder.sign(self.key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def fetched(
    url: str,
    authority: Authority,
    server: ssl.SSLContext | None,
    respond: Respond | bytes = b"",
    answer: str = PUBLIC,
    knobs: FetchKnobs | None = None,
) -> bytes:
    internet = Internet({"pictures.example.com": [[answer]], "my_bucket.example.com": [[answer]]})

    async def scenario() -> bytes:
        async with internet.site(respond or ok(), answer, 443, server):
            return await internet.fetcher(authority.trust()).fetch(url, knobs or FetchKnobs(), MAX_BYTES)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("pictures.example.com", "pictures.example.com"),
        ("PICTURES.example.com.", "pictures.example.com"),
        ("pictures.example.com", "*.example.com"),
        ("my_bucket.example.com", "my_bucket.example.com"),
        (PUBLIC, PUBLIC),
    ],
)
def test_the_names_own_certificate_is_accepted(host: str, name: str, authority: Authority) -> None:
    assert fetched(f"https://{host}/", authority, authority.server(name)) == PICTURE


def test_an_ipv6_literals_own_certificate_is_accepted(authority: Authority) -> None:
    url = f"https://[{PUBLIC_V6}]/"
    assert fetched(url, authority, authority.server(PUBLIC_V6), answer=PUBLIC_V6) == PICTURE


@pytest.mark.parametrize(
    "names",
    [["other.example.com"], [PUBLIC], ["*.pictures.example.com"], ["example.com"], ["*.com"]],
)
def test_a_certificate_of_another_name_is_refused(names: list[str], authority: Authority) -> None:
    with pytest.raises(TlsFailed):
        fetched("https://pictures.example.com/", authority, authority.server(*names))


def test_an_addresses_certificate_must_name_the_address(authority: Authority) -> None:
    with pytest.raises(TlsFailed):
        fetched(f"https://{PUBLIC}/", authority, authority.server("pictures.example.com"))


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    with pytest.raises(TlsFailed):
        fetched("https://pictures.example.com/", authority, authority.server("pictures.example.com", until=NOW - DAY))


def test_an_authority_that_nobody_knows_is_refused(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = Authority(tmp_path / "stranger")
    with pytest.raises(TlsFailed) as caught:
        fetched("https://pictures.example.com/", authority, stranger.server("pictures.example.com"))
    assert "authority" not in caught.value.message


def handshaking(authority: Authority, knobs: FetchKnobs, said: bytes, error: type[TuwenError]) -> None:
    """A server that says ``said`` and no more must bring ``error``, and must see its client hang up."""
    internet = Internet({"pictures.example.com": [[PUBLIC]]})

    async def scenario() -> None:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(said)
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
            hung_up.set()

        hung_up = asyncio.Event()
        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        internet.sites[PUBLIC, 443] = server.sockets[0].getsockname()[1]
        fetcher = internet.fetcher(authority.trust())
        with pytest.raises(error):
            await fetcher.fetch("https://pictures.example.com/", knobs, MAX_BYTES)
        async with asyncio.timeout(5):
            await hung_up.wait()
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b"\x16\x03\x03\xff\xff" + b"a" * 65535],
)
def test_a_server_that_speaks_no_proper_tls_is_refused(said: bytes, authority: Authority) -> None:
    handshaking(authority, FetchKnobs(), said, TlsFailed)


def test_a_handshake_that_never_ends_meets_the_deadline_and_its_socket_is_closed(authority: Authority) -> None:
    handshaking(authority, FetchKnobs(timeout_s=0.3), b"", FetchTimeout)


def test_no_server_can_demand_keys_that_hold_up_the_loop() -> None:
    ours = {cipher["name"]: cipher for cipher in trust_of_the_system().get_ciphers()}
    assert {cipher["kea"] for cipher in ours.values()} == {"kx-ecdhe", "kx-any"}
    assert {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_AES_128_GCM_SHA256"} <= set(ours)


def test_https_does_not_redirect_down_to_http(authority: Authority) -> None:
    with pytest.raises(UnsupportedScheme):
        fetched(
            "https://pictures.example.com/", authority, authority.server("pictures.example.com"),
            moved("http://pictures.example.com/a.png"),
        )  # fmt: skip


def test_https_redirects_to_https(authority: Authority) -> None:
    answers = {"/": moved("/a.png"), "/a.png": ok()}
    server = authority.server("pictures.example.com")
    assert fetched("https://pictures.example.com/", authority, server, by_path(answers)) == PICTURE


def test_a_stall_over_tls_meets_the_deadline(authority: Authority) -> None:
    server, knobs = authority.server("pictures.example.com"), FetchKnobs(timeout_s=0.5)
    with pytest.raises(FetchTimeout):
        fetched("https://pictures.example.com/", authority, server, forever(b"HTTP/1.1 200", b"", 0.02), knobs=knobs)


def test_a_connection_that_ends_without_closing_tls_does_not_pass_for_a_whole_picture(authority: Authority) -> None:
    server = authority.server("pictures.example.com")
    with pytest.raises(TuwenError) as caught:
        fetched("https://pictures.example.com/", authority, server, ok()[:-1])
    assert type(caught.value) is FetchFailed
