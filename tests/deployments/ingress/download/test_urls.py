"""The URL parser: what it makes of good URLs, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import BlockedAddress, CredentialsInUrl, ImageUrlError, UnsupportedScheme
from deployments.ingress.download.urls import MAX_URL_CHARS, parse_url


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTPS://EXAMPLE.com:443/A?b=C#d", "https://example.com/A?b=C"),
        ("http://example.com./a", "http://example.com/a"),
        ("http://example.com:8080/a", "http://example.com:8080/a"),
        ("http://example.com:/a", "http://example.com/a"),
        ("http://example.com:080/a", "http://example.com/a"),
        ("http://example.com?a=@b", "http://example.com/?a=@b"),
        ("http://example.com/a@b:c", "http://example.com/a@b:c"),
        ("http://example.com/a/../b", "http://example.com/b"),
        ("http://example.com/中文.png?问=答", "http://example.com/%E4%B8%AD%E6%96%87.png?%E9%97%AE=%E7%AD%94"),
        ("http://中国.example.com/", "http://xn--fiqs8s.example.com/"),
        ("http://中国。example。com/", "http://xn--fiqs8s.example.com/"),
        ("http://xn--fiqs8s.example.com/", "http://xn--fiqs8s.example.com/"),
        ("http://аpple.com/", "http://xn--pple-43d.com/"),
        ("http://my_bucket.example.com/", "http://my_bucket.example.com/"),
        ("http://93.184.216.34/", "http://93.184.216.34/"),
        ("https://[2606:4700:0:0::1111]:8443/", "https://[2606:4700::1111]:8443/"),
        ("http://[::FFFF:8.8.8.8]/", "http://[::ffff:808:808]/"),
        ("http://example.com/%0d%0aX:%20y", "http://example.com/%0d%0aX:%20y"),
    ],
)
def test_a_url_has_one_normal_form(url: str, normal: str) -> None:
    target = parse_url(url)
    assert str(target).replace("::ffff:8.8.8.8", "::ffff:808:808") == normal
    assert parse_url(str(target)) == target


@pytest.mark.parametrize(
    "url",
    ["", "/etc/passwd", "file:///etc/passwd", "ftp://example.com/a", "gopher://example.com:70/_x", "data:image/png;base64,AAAA", "data:,x", "://example.com/", "//example.com/", "example.com/a.png", "http:example.com", "http:/example.com", "javascript:alert(1)", "ws://example.com/", "httpx://example.com/", "unix:/run/docker.sock", "http+unix://%2Frun%2Fdocker.sock/", "blob:http://example.com/a", "jar:http://example.com!/"],
)  # fmt: skip
def test_only_http_and_https(url: str) -> None:
    with pytest.raises(UnsupportedScheme):
        parse_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://user:pass@example.com/", "http://user@example.com/", "http://@example.com/", "http://:@example.com/", "http://example.com@127.0.0.1/", "http://a@b@example.com/", "http://example.com:80@127.0.0.1:80/", "http://user%40:x@example.com/"],
)  # fmt: skip
def test_no_credentials(url: str) -> None:
    with pytest.raises(CredentialsInUrl):
        parse_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///a", "http://?a", "http://#a", "http://:80/", "http://.../", "http://.example.com/", "http://a..b/", "http://example.com../", "http://127.0.0.1../",
     "http://exa mple.com/", " http://example.com/", "http://example.com/ ", "http://example.com/a b", "http://example.com\t/", "http://example.com/\r\nX: y", "http://example.com/\n", "http://example.com/\x00", "http://example.com/\x7f", "http://example.com/\u200b", "http://example.com/\u202egnp.a", "http://example.com/\u3000", "http://example.com/\ud800", "http://\ud800/",
     "http://example.com\\@127.0.0.1/", "http:\\\\127.0.0.1/", "http://example.com/\\..\\a", "http://127.0.0.1\\.example.com/",
     "http://example.com:a/", "http://example.com:-1/", "http://example.com:+80/", "http://example.com:8_0/", "http://example.com:８０/", "http://example.com:80:80/", "http://example.com:999999/", "http://[::1]80/", "http://[::1].example.com/", "http://[::1", "http://::1/", "http://[127.0.0.1]/", "http://[v1.x]/", "http://[]/", "http://[::g]/", "http://[::1%\u4e2d]/", "http://[fe80::1%25\u00e9]/",
     "http://ex%61mple.com/", "http://127.0.0.1%2f.example.com/", "http://example.com%00/", "http://a`b/", "http://a{b}/", "http://a|b/", "http://a,b/", "http://１２７.０.０.１/", "http://ｌocalhost/", "http://☃.example.com/", "http://" + "a" * 64 + ".com/", "http://" + "a." * 127 + "com/", "http://" + "中" * 70 + ".com/",
     "http://example.com/" + "a" * MAX_URL_CHARS, "http://" + "a" * 10_000, "a" * 10_000],
)  # fmt: skip
def test_what_is_no_proper_url_is_refused(url: str) -> None:
    with pytest.raises(ImageUrlError) as caught:
        parse_url(url)
    assert type(caught.value) is ImageUrlError
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "host",
    [
        "0",
        "127.1",
        "0x7f.1",
        "0X7F000001",
        "017700000001",
        "2130706433",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "example.1",
        "127.0.0.0x1",
        "08.8.8.8",
        "4294967296",
        "127。1",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
    ],
)
def test_a_host_that_ends_in_a_number_is_a_plain_ipv4_address_or_refused(host: str) -> None:
    with pytest.raises(BlockedAddress):
        parse_url(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "http://a.localhost/",
        "http://printer.local/",
        "http://metadata.google.internal/",
        "http://a.home.arpa/",
        "http://localhost.localdomain/",
        "http://redis.default.svc.cluster.local:6379/",
        "http://metadata/",
    ],
)
def test_local_names_are_known(url: str) -> None:
    assert parse_url(url).is_local_name


@pytest.mark.parametrize(
    "url", ["http://local.example.com/", "http://example.notlocal/", "http://mylocalhost.com/", "http://127.0.0.1/"]
)
def test_other_names_are_not_local(url: str) -> None:
    assert not parse_url(url).is_local_name


@given(
    text=st.text(st.sampled_from("http://s.:@[]%#?\\0127xaé。１\u200b \n-_"), max_size=40).map(
        lambda rest: "http://" + rest
    )
)
def test_whatever_is_accepted_is_accepted_again_as_the_same(text: str) -> None:
    try:
        target = parse_url(text)
    except ImageUrlError:
        return
    assert parse_url(str(target)) == target
    assert target.host.isascii()
    assert not set(target.host + target.target) & set(" \\\r\n\t")
