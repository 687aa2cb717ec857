"""Throw spellings of addresses and junk at the download's guard: ``python -m benchmarks.fuzz_addresses --count 9999``.

An escape is a URL that the guard would connect to although it leads to an address that is not public, by an oracle that
shares no code with the guard: the C library's reading of the host, and bytes compared with bytes. A crash is any
exception outside the error tree. Both must be 0; the exit status says so. Nothing is looked up or connected to.
"""

import argparse
import random
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from deployments.errors import ImageUrlError
from deployments.ingress.download.addresses import is_allowed
from deployments.ingress.download.settings import FetchKnobs
from deployments.ingress.download.urls import Target, parse_url

INTERESTING = (
    "127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.1.1", "172.31.255.255", "100.100.100.200", "168.63.129.16",
    "0.0.0.0", "255.255.255.255", "198.18.0.1", "224.0.0.1", "8.8.8.8", "93.184.216.34",
)  # fmt: skip
JUNK = "abcdxn019.-_:/?#@%[]\\ \t\r\n\0\u200b\u202e。．１７①é中ß☃\ud800{}|^`~!$&'()*+,;=\"<>"


def v4_public(raw: bytes) -> bool:
    a, b, c, d = raw
    return not (
        a in (0, 10, 127)
        or a >= 224
        or (a == 100 and b >> 6 == 1)
        or (a == 172 and b >> 4 == 1)
        or (a, b) in ((169, 254), (192, 168), (198, 18), (198, 19))
        or (a, b, c) in ((192, 0, 0), (192, 0, 2), (192, 88, 99), (198, 51, 100), (203, 0, 113))
        or (a, b, c, d) == (168, 63, 129, 16)
    )


def v6_public(raw: bytes) -> bool:
    if raw[:12] in (bytes(10) + b"\xff\xff", b"\0\x64\xff\x9b" + bytes(8)):
        return v4_public(raw[12:])
    isatap = raw[8] & 0xFC == 0 and raw[9:12] == b"\0\x5e\xfe"
    reserved = raw[:2] == b"\x20\x02" or raw[:4] == b"\x20\x01\x0d\xb8" or (raw[:2] == b"\x3f\xff" and raw[2] < 0x10)
    assigned = raw[:2] == b"\x20\x01" and raw[2] < 2
    return raw[0] >> 5 == 1 and not reserved and not assigned and (not isatap or v4_public(raw[12:]))


def leads_inside(host: str) -> bool:
    """Whether the C library takes the host for an address, in whatever spelling, and it is not public."""
    try:
        return not v6_public(socket.inet_pton(socket.AF_INET6, host.partition("%")[0])) or "%" in host
    except (OSError, ValueError):
        pass
    try:
        return not v4_public(socket.inet_aton(host))
    except (OSError, ValueError):
        return False


def outcome(url: str, base: Target | None, knobs: FetchKnobs) -> str:
    try:
        target = parse_url(url, base)
    except ImageUrlError as refused:
        return refused.code
    except Exception as crash:
        return f"CRASH {type(crash).__name__} {url!a}"
    if target.address is not None and not is_allowed(target.address):
        return "blocked_address"
    if target.is_local_name:
        return "blocked_address"
    if leads_inside(target.host):
        return f"ESCAPE {url!a}"
    if target.port not in knobs.ports:
        return "port_not_allowed"
    return "to be connected" if target.address is not None else "to be looked up"


def spelling_v4(rng: random.Random, value: int) -> str:
    """One of the spellings that ``inet_aton`` reads: one to four parts, each decimal, octal or hexadecimal."""
    parts = rng.randint(1, 4)
    numbers = [value >> 24 - 8 * place & 255 for place in range(parts - 1)]
    numbers.append(value & (1 << 8 * (5 - parts)) - 1)
    forms: Sequence[Callable[[int], str]] = (
        str,
        str,
        "{:#x}".format,
        "{:#X}".format,
        "0{:o}".format,
        "0x00{:x}".format,
    )
    text = rng.choice((".", ".", ".", "。", "．")).join(rng.choice(forms)(number) for number in numbers)
    return text.translate({48 + digit: 0xFF10 + digit for digit in range(10)}) if rng.random() < 0.05 else text


def spelling_v6(rng: random.Random, inner: int) -> str:
    high = rng.getrandbits(64)
    value = rng.choice((
        rng.getrandbits(128), 0xFFFF << 32 | inner, inner, 0xFFFF << 48 | inner, 0x64FF9B << 96 | inner,
        0x64FF9B0001 << 80 | inner, 0x64FF9B0001 << 80 | inner << 40, 0x2002 << 112 | inner << 80 | 1,
        0x20010000 << 96 | inner << 64 | high >> 32, 0x20010000 << 96 | high << 32 | (inner ^ 0xFFFFFFFF),
        high << 64 | 0x5EFE << 32 | inner, (0x2606 << 48 | high >> 16) << 64 | 0x02005EFE << 32 | inner,
        0xFE80 << 112 | high, 0xFC00 << 112 | high, 0x20010DB8 << 96 | high, 0x3FFF << 112 | high, 1,
    ))  # fmt: skip
    raw = value.to_bytes(16, "big")
    text = socket.inet_ntop(socket.AF_INET6, raw)
    if rng.random() < 0.3:
        text = ":".join(raw[place : place + 2].hex() for place in range(0, 16, 2)).upper()
    return text + (rng.choice(("%eth0", "%251", "%25lo")) if rng.random() < 0.05 else "")


def host(rng: random.Random) -> str:
    picked = socket.inet_aton(rng.choice(INTERESTING)) if rng.random() < 0.7 else rng.randbytes(4)
    inner, kind = int.from_bytes(picked, "big"), rng.random()
    if kind < 0.35:
        return spelling_v4(rng, inner)
    if kind < 0.75:
        return f"[{spelling_v6(rng, inner)}]"
    names = (
        "localhost",
        "example.com",
        "metadata.google.internal",
        "xn--fiqs8s.example.com",
        "中国.example.com",
        "a" * 64,
    )
    return rng.choice(names) if kind < 0.85 else "".join(rng.choices(JUNK, k=rng.randint(0, 30)))


def url(rng: random.Random) -> str:
    scheme = rng.choice(
        ("http://",) * 8 + ("https://",) * 4 + ("HTTP://", "//", "http:", "http:///", "file://", "ftp://", "")
    )
    user = rng.choice(("",) * 15 + ("user:pass@", "@", "example.com@", "example.com#@", "example.com\\@"))
    port = rng.choice(
        ("",) * 8 + (":80", ":443", ":22", ":0", ":99999", ":-1", ":８０", ":8_0", ":", ":80:80", ".", ".:80")
    )
    text = (
        scheme
        + user
        + host(rng)
        + port
        + rng.choice(("", "/", "/a.png", "?a", "#b", "/%00", "/中", "/a" * 1500, "/\r\nX:y"))
    )
    if rng.random() < 0.1:  # one character changed
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.choice(JUNK) + text[place + 1 :]
    return text


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, knobs, outcomes = random.Random(options.seed), FetchKnobs(), Counter[str]()
    base = parse_url("https://pictures.example.com/folder/a.png?q")
    resident = [resident_mb()]
    for done in range(1, options.count + 1):
        found = outcome(url(rng), base if rng.random() < 0.3 else None, knobs)
        if found.startswith(("ESCAPE", "CRASH")):
            print(found)
        outcomes[found.split()[0] if found.startswith(("ESCAPE", "CRASH")) else found] += 1
        if done in (options.count // 2, options.count):
            resident.append(resident_mb())
    print(f"{options.count} URLs, seed {options.seed}")
    for name, times in outcomes.most_common():
        print(f"{times:8d}  {name}")
    escapes, crashes = outcomes["ESCAPE"], outcomes["CRASH"]
    print(f"escapes {escapes}, crashes {crashes}")
    print("resident MB at the start, middle and end: " + ", ".join(f"{megabytes:.1f}" for megabytes in resident))
    raise SystemExit(1 if escapes or crashes else 0)


if __name__ == "__main__":
    main()
