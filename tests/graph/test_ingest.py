"""The reference table of bad inputs against the running service: each row's outcome, and a healthy service after all."""

import base64
import http.server
import json
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from demo.cards import pictures as cards

pytestmark = pytest.mark.serve

SAMPLES = Path(__file__).resolve().parents[2] / "demo" / "samples"
SAMPLE = (SAMPLES / "order-1.png").read_bytes()
HOST = "127.0.0.2"
"""Where the test's own server listens: the one non-public address that the service is allowed to fetch from."""
TIMEOUT_S = 2.0


class Origin(http.server.BaseHTTPRequestHandler):
    """A picture server of every temper, by path."""

    def do_GET(self):
        self.server.asked.append(self.path)
        kind, _, value = self.path.lstrip("/").partition("/")
        getattr(self, f"send_{kind}")(value)

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_picture(self, _):
        self.reply(200, SAMPLE, Content_Type="text/plain")  # what a header says does not matter

    def send_status(self, value):
        self.reply(int(value), SAMPLE)

    def send_html(self, value):
        self.reply(200, b"<!doctype html><p>hello", Content_Type=f"{value or 'text'}/html")

    def send_fake(self, _):
        self.reply(200, b"<!doctype html><p>hello", Content_Type="image/png")

    def send_to(self, value):
        self.reply(302, Location=base64.urlsafe_b64decode(value).decode())

    def send_chain(self, value):
        self.reply(302, Location=f"/chain/{int(value) - 1}" if int(value) > 1 else "/picture")

    def send_loop(self, _):
        self.reply(302, Location="/loop")

    def send_promise(self, _):
        self.send_response(200)
        self.send_header("Content-Length", str(5 * 10**9))
        self.end_headers()

    def send_endless(self, _):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"\xff" * 65536)
        except OSError:
            self.server.hung_up.set()

    def send_drip(self, value):
        text = SAMPLE if value == "body" else b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100
        if value == "body":
            self.send_response(200)
            self.end_headers()
        try:
            for byte in text:
                self.wfile.write(bytes([byte]))
                time.sleep(0.2)
        except OSError:
            self.server.hung_up.set()

    def send_gzip(self, _):
        self.reply(200, zlib.compress(SAMPLE, wbits=31), Content_Encoding="gzip")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def origin(live):
    """The server, which the service may fetch from for the time of these tests."""
    server = http.server.ThreadingHTTPServer((HOST, 0), Origin)
    server.daemon_threads = True
    server.asked, server.hung_up = [], threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://{HOST}:{server.server_port}"
    opened = live.application
    ingress = next(entry for entry in opened["deployments"] if entry["name"] == "Ingress")
    ports = [80, 443, server.server_port]
    ingress["user_config"]["fetch"] = {
        "timeout_s": TIMEOUT_S, "ports": ports, "private_ranges": {HOST: [f"{HOST}/32"]},
    }  # fmt: skip
    ingress["user_config"]["max_body_bytes"] = 4_000_000
    live.deploy(opened)
    deadline = time.monotonic() + 60
    while by_address(live, f"{server.url}/picture").status_code != 200:
        assert time.monotonic() < deadline, "the service never took up its knobs"
        time.sleep(0.2)
    yield server
    server.shutdown()
    live.restore()


def by_address(live, url, **more):
    data = {"image_url": url, "question": "订单号？"}
    # Not a urlencoded form: the route takes multipart only.
    return requests.post(f"{live.url}/v1/ask", files={k: (None, v) for k, v in (data | more).items()}, timeout=60)


def outcome(response):
    return response.status_code, response.json()["error"]["code"]


BLOCKED = [
    "http://127.0.0.1/x", "http://localhost/x", "http://[::1]/x", "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/", "http://100.64.0.1/", "http://168.63.129.16/", "http://10.0.0.1/", "http://172.16.0.1/",
    "http://192.168.1.1/", "http://[fd00::1]/", "http://[fe80::1]/", "http://[fec0::1]/", "http://2130706433/",
    "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://0/", "http://0.0.0.0/", "http://[::]/",
    "http://[::ffff:127.0.0.1]/", "http://[::127.0.0.1]/", "http://[64:ff9b::10.0.0.1]/", "http://[64:ff9b:1::a00:1]/",
    "http://[2002:7f00:1::]/", "http://[2001:0:7f00:1::]/", "http://[::ffff:0:127.0.0.1]/",
    "http://[2606:4700::5efe:127.0.0.1]/", "http://[fe80::5efe:127.0.0.1]/", "http://LOCALHOST./x",
    "http://metadata.google.internal/", "http://224.0.0.1/", "http://255.255.255.255/", "http://192.0.0.192/",
]  # fmt: skip
ADDRESSES = [
    *((f"blocked {url}", url, 400, "blocked_address") for url in BLOCKED),
    ("file", "file:///etc/passwd", 400, "unsupported_scheme"),
    ("path", "/etc/passwd", 400, "unsupported_scheme"),
    ("ftp", "ftp://example.com/a.png", 400, "unsupported_scheme"),
    ("gopher", "gopher://example.com/", 400, "unsupported_scheme"),
    ("data in an address", "data:image/png;base64,AAAA", 400, "unsupported_scheme"),
    ("no scheme", "//example.com/a.png", 400, "unsupported_scheme"),
    ("ssh's port", "http://example.com:22/", 400, "port_not_allowed"),
    ("redis's port", "http://example.com:6379/", 400, "port_not_allowed"),
    ("smtp's port", "https://example.com:25/", 400, "port_not_allowed"),
    ("credentials", "http://user:pass@example.com/", 400, "credentials_in_url"),
    ("ten kilobytes", "http://example.com/" + "a" * 10_000, 400, "image_url_invalid"),
    ("homograph", "http://аpple．com/", None, None),
    ("line break", "http://example.com/\r\nHost: x", 400, "image_url_invalid"),
    ("empty", "", 400, None),
]


@pytest.mark.parametrize(("url", "status", "code"), [row[1:] for row in ADDRESSES], ids=[row[0] for row in ADDRESSES])
def test_an_address_that_may_not_be_fetched_is_refused(live, origin, url, status, code):
    found = outcome(by_address(live, url))
    assert status is None or found[0] == status
    assert code is None or found[1] == code
    assert found[0] < 500


def to(url):
    return "to/" + base64.urlsafe_b64encode(url.encode()).decode()


SERVERS = [
    ("redirect to the metadata address", to("http://169.254.169.254/latest/meta-data/"), 400, "blocked_address"),
    ("redirect to loopback", to("http://127.0.0.1/"), 400, "blocked_address"),
    ("redirect to a file", to("file:///etc/passwd"), 400, "unsupported_scheme"),
    ("four redirects", "chain/4", 400, "too_many_redirects"),
    ("a loop", "loop", 400, "too_many_redirects"),
    ("promises 5 GB", "promise", 413, "image_too_large"),
    ("never ends", "endless", 413, "image_too_large"),
    ("drips its head", "drip/head", 504, "fetch_timeout"),
    ("drips its body", "drip/body", 504, "fetch_timeout"),
    ("HTML", "html", 415, "not_an_image"),
    ("HTML that says it is a PNG", "fake", 415, "not_an_image"),
    ("not found", "status/404", 422, "fetch_failed"),
    ("forbidden", "status/403", 422, "fetch_failed"),
    ("its own fault", "status/500", 422, "fetch_failed"),
    ("compressed", "gzip", 422, "fetch_failed"),
]


@pytest.mark.parametrize(("path", "status", "code"), [row[1:] for row in SERVERS], ids=[row[0] for row in SERVERS])
def test_a_server_that_misbehaves_is_given_up_in_time(live, origin, path, status, code):
    before = len(origin.asked)
    response = by_address(live, f"{origin.url}/{path}")
    assert outcome(response) == (status, code)
    error = response.json()["error"]
    assert not any(word in error["message"] for word in ("169.254", "passwd", "404", "5000000000"))
    assert len(origin.asked) - before <= 4  # no storm of retries
    record = requests.get(f"{live.url}/v1/requests/{error['request_id']}", timeout=10).json()
    assert record["timing_ms"]["fetch"] < (TIMEOUT_S + 1.5) * 1e3


def test_a_picture_by_address_is_answered_as_the_file_is_on_both_routes(live, origin):
    url = f"{origin.url}/chain/3"
    by_url = by_address(live, url).json()
    data = {"question": "订单号？"}
    by_file = requests.post(f"{live.url}/v1/ask", files={"image": SAMPLE}, data=data, timeout=60).json()
    assert by_url["answer"] == by_file["answer"]
    content = [{"type": "image_url", "image_url": {"url": url}}] * 9 + [{"type": "text", "text": "订单号？"}]
    before = len(origin.asked)
    body = {"model": "tuwen-demo", "messages": [{"role": "user", "content": content}]}
    chat = requests.post(f"{live.url}/v1/chat/completions", json=body, timeout=60).json()
    assert chat["choices"][0]["message"]["content"] == by_file["answer"]
    assert origin.asked[before:] == ["/chain/3", "/chain/2", "/chain/1", "/picture"]  # nine times the same: once


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width, height):
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 100))


def encoded(image, kind, **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
FILES = [
    ("two bytes", b"\xff\xd8", 415, "not_an_image"),
    ("random bytes", bytes(np.random.default_rng(0).integers(0, 255, 500, dtype=np.uint8)), 415, "not_an_image"),
    ("half a PNG", SAMPLE[: len(SAMPLE) // 2], 422, "image_truncated"),
    ("half a JPEG", encoded(NOISE, "JPEG")[:600], 422, "image_truncated"),
    ("196 megapixels announced", png_header(14_000, 14_000), 413, "too_many_pixels"),
    ("100 megapixels", encoded(Image.new("1", (10_000, 10_000)), "PNG"), 413, "too_many_pixels"),
    ("no pixels", png_header(0, 0), 415, "not_an_image"),
    ("a thread", encoded(Image.new("1", (2000, 2)), "PNG"), 422, "image_shape"),
    ("TIFF of floats", encoded(Image.new("F", (30, 30)), "TIFF"), 415, "unsupported_format"),
    ("PDF", b"%PDF-1.7\n1 0 obj", 415, "unsupported_format"),
    ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "unsupported_format"),
    ("EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n", 415, "unsupported_format"),
    ("PSD", b"8BPS\0\1" + b"\0" * 30, 415, "unsupported_format"),
    ("FITS", b"SIMPLE  =                    T" + b" " * 2850, 415, "unsupported_format"),
    ("ICO", encoded(NOISE, "ICO"), 415, "unsupported_format"),
    ("HEIC", b"\0\0\0\x18ftypheic" + b"\0" * 40, 415, "unsupported_format"),
    ("AVIF", encoded(NOISE, "AVIF"), 415, "unsupported_format"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "status", "code"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_a_file_that_is_no_good_is_refused(live, data, status, code):
    response = requests.post(f"{live.url}/v1/ask", files={"image": data}, data={"question": "x"}, timeout=60)
    assert outcome(response) == (status, code)


def test_odd_but_sound_pictures_are_answered(live):
    frames = [Image.new("RGB", (60, 60), (n, 0, 0)) for n in range(100)]
    exif = Image.Exif()
    exif[0x0112] = 6
    odd = [
        SAMPLE[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 10**8, 9)) + SAMPLE[33:],  # never inflated
        encoded(Image.new("RGB", (1, 1)), "PNG"),
        encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:9]),
        encoded(Image.new("CMYK", (60, 60)), "JPEG"),
        encoded(Image.new("LA", (60, 60)), "PNG"),
        encoded(Image.new("I;16", (60, 60)), "PNG"),
        encoded(NOISE, "JPEG", exif=exif),
        encoded(NOISE, "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 60_000),
    ]
    for data in odd:
        response = requests.post(f"{live.url}/v1/ask", files={"image": data}, data={"question": "订单号？"}, timeout=60)
        assert response.status_code == 200, response.text


BASE64 = [
    ("bad alphabet", "data:image/png;base64,@@@@", 400, "image_encoding"),
    ("no padding", "data:image/png;base64,abc", 400, "image_encoding"),
    ("white space", "data:image/png;base64,YW Jj", 400, "image_encoding"),
    ("text", "data:text/plain;base64,YWJj", 400, "image_encoding"),
    ("not base64", "data:image/png,abc", 400, "image_encoding"),
    ("200 MB", "data:image/png;base64," + "A" * 200_000_000, 413, "body_too_large"),
]


@pytest.mark.parametrize(("url", "status", "code"), [row[1:] for row in BASE64], ids=[row[0] for row in BASE64])
def test_a_data_uri_that_is_no_good_is_refused(live, url, status, code):
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "x"}]
    body = json.dumps({"model": "tuwen-demo", "messages": [{"role": "user", "content": content}]}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        response = requests.post(f"{live.url}/v1/chat/completions", data=body, headers=headers, timeout=60)
    except requests.ConnectionError:
        assert len(body) > 10**8  # refused while it was still being sent
        return
    assert outcome(response) == (status, code)


def test_more_pictures_than_one_are_refused(live):
    uris = [f"data:image/png;base64,{base64.b64encode(SAMPLE[:n]).decode()}" for n in range(30, 39)]
    content = [{"type": "image_url", "image_url": {"url": uri}} for uri in uris] + [{"type": "text", "text": "x"}]
    body = {"model": "tuwen-demo", "messages": [{"role": "user", "content": content}]}
    response = requests.post(f"{live.url}/v1/chat/completions", json=body, timeout=60)
    assert outcome(response) == (400, "too_many_images")


def test_fifty_identical_requests_at_once_are_one_computation(live):
    question = f"订单号？{time.time()}"  # one that nobody has asked before

    def ask(_):
        files, data = {"image": SAMPLE}, {"question": question}
        return requests.post(f"{live.url}/v1/ask", files=files, data=data, timeout=120).json()

    with ThreadPoolExecutor(50) as callers:
        replies = list(callers.map(ask, range(50)))
    assert len({reply["answer"] for reply in replies}) == 1
    assert sum(not reply["cached"] for reply in replies) == 1


def test_cards_are_refused_and_named(live, demo_fonts):
    found = []
    for label in ("identity_card", "bank_card"):
        for seed in islice(cards.seeds_of(label, 0, held_out=True), 5):
            picture = encoded(Image.fromarray(cards.draw(label, seed).pixels), "PNG")
            files, data = {"image": picture}, {"question": "x"}
            response = requests.post(f"{live.url}/v1/ask", files=files, data=data, timeout=60)
            if response.status_code == 422:
                assert outcome(response) == (422, "image_blocked")
                found.append(label in response.json()["error"]["message"])
    assert found.count(True) >= 8  # of 10 held-out ones


def test_the_service_is_healthy_after_all_this(live):
    health = requests.get(f"{live.url}/healthz", timeout=10).json()
    assert health["ready"]
    assert health["safety"] == ["blocklist", "cards"]
    assert (health["cache"], health["cache_status"]) == ("memory", "ok")
    response = requests.post(f"{live.url}/v1/ask", files={"image": SAMPLE}, data={"question": "订单号？"}, timeout=60)
    assert response.status_code == 200
