"""Reading JSON: exactly, strictly, and quickly whatever is sent."""

import asyncio
import base64
import json
import os
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.concurrency import run_in_threadpool

from deployments.errors import BodyTooLarge, RequestError
from deployments.ingress.http.json_body import MAX_REST_BYTES, MIN_PAYLOAD_BYTES, read_json
from deployments.ingress.http.openai.chat import read_chat
from deployments.ingress.models import Models

MODELS = Models(SimpleNamespace(model_name="m"))

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.text(max_size=20)
    | st.just(";base64," + "A" * 20_000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(VALUES, st.booleans())
def test_it_reads_what_the_standard_library_reads(value, ascii_only):
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert read_json(body) == json.loads(body)


PICTURE = "data:image/png;base64," + base64.b64encode(os.urandom(300_000)).decode()


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"url": PICTURE, "text": "问"}),
        json.dumps({"url": PICTURE}).replace("/", "\\/"),
        json.dumps([PICTURE, "a", PICTURE[:50_000], {"b": PICTURE}]),
        json.dumps({PICTURE: 1}),
        json.dumps({"text": "a" * 100 + PICTURE + "\n" + PICTURE}),
        json.dumps({"text": PICTURE + '" ;base64,' + "A" * MIN_PAYLOAD_BYTES}),
        "\ufeff" + json.dumps({"a": 1}),
    ],
    ids=["plain", "slashes escaped", "several", "as a name", "twice in one text", "with a quote after it", "a BOM"],
)
def test_pictures_come_back_where_they_stood(body):
    assert read_json(body.encode()) == json.loads(body.removeprefix("\ufeff"))


BROKEN = {
    "nothing": (b"", "not valid JSON"),
    "half": (b'{"a": ', "not valid JSON"),
    "two values": (b"{} {}", "not valid JSON"),
    "not UTF-8": ('{"a": "订单"}'.encode("gbk"), "not UTF-8"),
    "surrogates in UTF-8": (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "half a pair": (b'{"a": ["x\\ud800"]}', "U\\+D800"),
    "half a pair in a name": (b'{"\\udfff": 1}', "U\\+DFFF"),
    "a name twice": (b'{"a": 1, "b": 2, "a": 3}', "gives `a` 2 times"),
    "a name twice inside": (b'{"a": [{"role": 1, "role": 2}]}', "gives `role` 2 times"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "infinity": (b"[-Infinity]", "-Infinity"),
    "many digits": (b"[" + b"1" * 1_000_000 + b"]", "too many digits"),
    "deep lists": (b"[" * 19_000 + b"]" * 19_000, "nested too deeply"),
    "deep objects": (b'{"a":' * 9_000 + b"1" + b"}" * 9_000, "nested too deeply"),
    "a little deep": (b"[" * 102 + b"]" * 102, "nested too deeply"),
    "many values": (b"[" + b"1," * 100_000 + b"1]", "more than 20000 values"),
    "many names": (json.dumps({str(n): n for n in range(50_000)}).encode(), "more than 20000 values"),
    "a picture that is not ASCII": (b'{"a": ";base64,' + b"\xff" * 20_000 + b'"}', "not UTF-8"),
}


@pytest.mark.parametrize(("body", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_not_plain_json_is_refused_quickly(body, says):
    began = time.process_time()
    with pytest.raises(RequestError, match=says) as refused:
        read_json(body)
    assert len(str(refused.value)) < 300
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "body", [b'"' + b"x" * MAX_REST_BYTES + b'"', b'"' + b"\\u0041" * 4_500_000 + b'"', b"[" * 27_000_000]
)
def test_what_is_large_beside_its_picture_is_refused_unread(body):
    with pytest.raises(BodyTooLarge, match="data URI"):
        read_json(body)


LARGE = 20 * 2**20


@pytest.mark.parametrize("slashes", ["/", "\\/"])
def test_the_largest_picture_leaves_the_event_loop_its_turns(slashes):
    """The loop's longest pause beside reading a request of 27 MB; most of the reading would be one pause otherwise."""
    picture = "data:image/png;base64," + base64.b64encode(os.urandom(LARGE)).decode()
    parts = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": "?"}]
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).replace("/", slashes).encode()

    async def longest_pause_s():
        reading = asyncio.ensure_future(run_in_threadpool(read_chat, body, MODELS, LARGE))
        longest, last = 0.0, time.perf_counter()
        while not reading.done():
            await asyncio.sleep(0)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        assert (await reading).image.size == LARGE
        return longest

    assert min(asyncio.run(longest_pause_s()) for _ in range(3)) < 0.2
