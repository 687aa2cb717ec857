"""The load test: when requests are sent, what they are, what is read off their replies, and what is written."""

import asyncio
import json
import math
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.load import generator
from benchmarks.load.__main__ import parsed
from benchmarks.load.arrivals import Phase, burst, poisson, steady, volleys
from benchmarks.load.figures import answers_per_s, by_user, figures, highest, jain, middle, timeline
from benchmarks.load.generator import Gun, Sent, Taken, closed_loop, open_loop, outcome
from benchmarks.load.marking import BOUNDARY, Marker, colours, form
from benchmarks.load.pictures import Shot, shots
from benchmarks.load.plots import lines, round_up, stacked
from benchmarks.load.result import SHIPPED, Found, Run, as_json, page, table
from benchmarks.load.variants import VARIANTS, config_of
from benchmarks.load.wire import Broken, Response, Wire
from benchmarks.peers.questions import Asked

SAMPLES = Path(__file__).parents[2] / "demo" / "samples"
SENT = Sent(0.0, 1.0, 500.0, "full", "", True, "field", "")
SHOT = Shot(b"body", "right", "field", "user")


def test_the_rate_is_what_was_asked_for_and_a_seed_gives_the_same_times():
    times = poisson(steady(20, 200), seed=1)
    assert len(times) == pytest.approx(4000, rel=0.05)
    assert times == poisson(steady(20, 200), seed=1) != poisson(steady(20, 200), seed=2)
    assert times == sorted(times)


def test_a_burst_has_its_rate_before_during_and_after():
    times = np.array(poisson(burst(2, 100, 10, before_s=10, after_s=20), seed=3))
    counts = [int(((times >= low) & (times < high)).sum()) for low, high in ((0, 10), (10, 20), (20, 40))]
    assert counts == pytest.approx([20, 1000, 40], rel=0.4)
    assert poisson([Phase(0, 10)], 1) == []


def test_volleys_come_at_one_moment():
    assert volleys(10, 3, 25) == [0, 0, 0, 10, 10, 10]


def test_every_mark_is_another_picture_whatever_the_file():
    assert len({tuple(colours(number)) for number in range(5000)}) == 5000
    order = str(SAMPLES / "order-1.png")
    jpeg = Path(order).with_suffix(".png")
    marker = Marker()
    seen = {np.asarray(Image.open(BytesIO(marker.marked(str(jpeg), number)))).tobytes() for number in range(30)}
    assert len(seen) == 30


def test_a_jpeg_keeps_its_mark(tmp_path: Path):
    file = tmp_path / "a.jpg"
    Image.open(SAMPLES / "order-1.png").convert("RGB").save(file)
    marker = Marker()
    corners = {np.asarray(Image.open(BytesIO(marker.marked(str(file), n))))[:8, :16].tobytes() for n in range(60)}
    assert len(corners) == 60


def test_requests_are_forms_that_the_service_reads():
    from starlette.datastructures import Headers
    from starlette.formparsers import MultiPartParser

    (shot,) = shots([Asked(str(SAMPLES / "order-1.png"), "订单号？", "1", "field")], 1, 7, {"timeout_s": "10"}, ["me"])

    async def parts():
        async def stream():
            yield shot.body

        headers = Headers({"content-type": f"multipart/form-data; boundary={BOUNDARY}"})
        return await MultiPartParser(headers, stream()).parse()

    read = asyncio.run(parts())
    assert {name: read[name] for name in ("question", "timeout_s", "user")} == {
        "question": "订单号？", "timeout_s": "10", "user": "me",
    }  # fmt: skip
    assert Image.open(read["image"].file).format == "PNG"
    assert form(b"x", "a.png", {}).endswith(f"--{BOUNDARY}--\r\n".encode())


@pytest.mark.parametrize(
    ("response", "level", "fault", "right"),
    [
        (Response(200, b'{"level": "full", "answer": "right"}'), "full", "", True),
        (Response(200, b'{"level": "holding", "answer": "wait", "retry_after_s": 2.5}'), "holding", "", False),
        (Response(503, b"no room"), "", "503 no room", False),
        ("no response", "", "no response", False),
    ],
)
def test_what_became_of_a_request(response, level, fault, right):
    found = outcome(SHOT, response, at=1.0, behind_ms=2.0, ms=3.0)
    assert (found.level, found.fault, found.right) == (level, fault, right)
    assert found.retry_after_s == (2.5 if level == "holding" else None)


class Served:
    """A loopback server that answers with what the test gives, and counts connections."""

    def __init__(self, *answers: bytes):
        self.answers, self.connections = list(answers), 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self.server.close()

    async def _talk(self, reader, writer):
        self.connections += 1
        while self.answers:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
            except asyncio.IncompleteReadError:
                return
            answer = self.answers.pop(0)
            writer.write(answer.removesuffix(b"HANGUP"))
            if answer.endswith(b"HANGUP"):
                break
        writer.close()


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 429 Busy\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbus\r\n1\r\ny\r\n0\r\n\r\n"
HEAD = b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n"


def test_connections_are_kept_and_replaced_when_the_server_has_closed_them():
    async def scene():
        served = Served(PLAIN, CHUNKED, PLAIN + b"HANGUP", PLAIN)
        async with served as port:
            wire = Wire("127.0.0.1", port)
            found = [await wire.send(HEAD, b"x") for _ in range(4)]
            await wire.close()
        return found, served.connections

    found, connections = asyncio.run(scene())
    assert [(one.status, one.body) for one in found] == [(200, b"ok"), (429, b"busy"), (200, b"ok"), (200, b"ok")]
    assert connections == 2


def test_a_service_that_is_not_there_is_a_fault_of_the_request():
    async def scene():
        async with Served() as port:
            pass
        await Wire("127.0.0.1", port).send(HEAD, b"x")

    with pytest.raises(Broken):
        asyncio.run(scene())


class Target:
    """A gun's wire whose answers come when the test lets them."""

    def __init__(self):
        self.go, self.asked = asyncio.Event(), 0

    async def send(self, head, body):
        self.asked += 1
        await self.go.wait()
        return Response(200, b'{"level": "fast", "answer": "right"}')


def test_an_open_loop_sends_whatever_has_become_of_those_before(monkeypatch: pytest.MonkeyPatch):
    async def scene():
        target, now = Target(), [0.0]
        monkeypatch.setattr(generator.time, "perf_counter", lambda: now[0])
        gun = Gun(target, "host", 0.0)
        now[0] = 5.0  # the generator itself has been held up
        running = asyncio.create_task(open_loop(gun, [1.0, 2.0, 4.5], [SHOT] * 3))
        while target.asked < 3:
            await asyncio.sleep(0)
        now[0] = 6.0
        target.go.set()
        return await running

    found = asyncio.run(scene())
    assert [one.ms for one in found] == [5000.0, 4000.0, 1500.0]
    assert [one.behind_ms for one in found] == [4000.0, 3000.0, 500.0]


def test_a_closed_loop_keeps_so_many_under_way_and_ends():
    async def scene():
        target = Target()
        gun = Gun(target, "host", generator.time.perf_counter())
        running = asyncio.create_task(closed_loop(gun, iter([SHOT] * 10), clients=4, seconds=60))
        while target.asked < 4:
            await asyncio.sleep(0)
        at_first = target.asked
        target.go.set()
        return at_first, await running

    at_first, found = asyncio.run(scene())
    assert at_first == 4
    assert len(found) == 10


def test_figures_of_a_run():
    sent = [
        SENT,
        replace(SENT, level="fast", ms=2000.0, right=False),
        replace(SENT, level="fast", ms=11_000.0),
        replace(SENT, level="holding", ms=20.0, right=False),
        replace(SENT, level="", fault="503", ms=5.0, right=False),
    ]
    found = figures(Taken(sent, cpu_s=0.5, seconds=10.0, began=0.0), 10.0, deadline_s=10.0)
    assert (found.offered_per_s, found.goodput_per_s, found.full_share) == (0.5, 0.2, 0.2)
    assert found.useful_share == pytest.approx(0.6)
    assert found.admitted_p50_ms == 2000.0
    assert found.holding_p99_ms == 20.0
    assert found.errors == 1
    assert found.levels == {"failed": 0.2, "fast": 0.4, "full": 0.2, "holding": 0.2}
    assert not found.is_generators_own
    assert replace(found, behind_ms=80.0).is_generators_own
    assert replace(found, cpu_share=0.7).is_generators_own


def test_the_middle_of_seeds_and_what_nobody_has():
    one = figures(Taken([SENT], 0.1, 1.0, 0.0), 1.0, 10.0)
    runs = [replace(one, goodput_per_s=rate, errors=1) for rate in (1.0, 9.0, 2.0)]
    assert middle(runs).goodput_per_s == 2.0
    assert middle(runs).errors == 3
    assert math.isnan(middle(runs).holding_p99_ms)


def test_a_closed_loop_counts_answers_within_its_window_only():
    at = [replace(SENT, at=place, ms=500.0) for place in (0.0, 5.0, 6.0, 9.8)]
    held = replace(SENT, at=6.0, level="holding")
    assert answers_per_s(Taken([*at, held], 0.0, 11.0, 0.0), ramp_s=5.0, seconds=10.0) == pytest.approx(2 / 5)


@pytest.mark.parametrize("limit", [0.3, 2.0, 7.7, 63.0])
def test_the_highest_rate_that_holds_is_found(limit: float):
    found = highest(lambda rate: rate <= limit, first=2.0, steps=5, most=256.0)
    assert found <= limit
    assert found >= limit * 0.93 or limit < 1


def test_a_service_that_bears_everything_is_asked_no_further_than_the_most():
    assert highest(lambda _: True, 2.0, 4, most=16.0) == 16.0


def test_fairness():
    assert jain([1, 1, 1, 1]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    sent = [replace(SENT, user="a"), replace(SENT, user="a", ms=20_000.0), replace(SENT, user="b", level="holding")]
    assert by_user(sent, 10.0) == {"a": (2, 1), "b": (1, 0)}


def test_a_timeline_has_a_line_for_every_second():
    found = timeline([replace(SENT, at=0.5), replace(SENT, at=2.2, level="holding")], 3.0)
    assert [one.offered for one in found] == [1, 0, 1]
    assert found[2].levels == {"holding": 1}
    assert found[0].p99_ms == 500.0


def found_runs() -> Found:
    one = figures(Taken([SENT] * 10, 0.1, 1.0, 0.0), 1.0, 10.0)
    run = Run(2.0, replace(one, offered_per_s=20.0, goodput_per_s=9.5), 3)
    burst_ = timeline([SENT], 1.0)
    seen = [{"at": 0.5, "queue_age_s": 1.5, "replicas": 1, "level": "holding"}]
    return Found(5.0, 10.0, 60.0, 10.0, {SHIPPED: [run], "bounded": [run]}, {16: 11.0}, burst_, seen)


def test_the_result_has_the_pinned_form():
    written = json.loads(json.dumps(as_json(found_runs())))
    assert (written["C"], written["C1"], written["C1/C"]) == (5.0, 10.0, 2.0)
    (run,) = written["runs"]
    pinned = {"load", "goodput_share", "useful_share", "holding_p99_ms", "admitted_p99_ms", "errors", "levels"}
    assert pinned <= set(run)
    assert (run["load"], run["goodput_share"], run["holding_p99_ms"]) == (2.0, 0.95, None)
    assert written["closed_loop"] == {"16": 11.0}
    assert set(written["baselines"]) == {"bounded"}


def test_below_its_capacity_the_share_is_of_the_load():
    run = Run(1.0, replace(found_runs().runs[SHIPPED][0].figures, offered_per_s=4.0, goodput_per_s=4.0), 1)
    assert run.share_of(10.0) == 1.0


def test_the_report_loads_nothing_and_says_when_the_generator_was_the_bottleneck():
    found = found_runs()
    html = page(found)
    assert html.count("<svg") == 6
    assert not re.search(r"(src|href)=|@import|url\(", html)
    assert "bottleneck" not in html
    slow = replace(found.runs[SHIPPED][0], figures=replace(found.runs[SHIPPED][0].figures, behind_ms=300.0))
    doubtful = replace(found, runs={SHIPPED: [slow]})
    assert "the generator was itself the bottleneck" in page(doubtful)
    assert "the generator was itself the bottleneck" in table(doubtful)
    assert as_json(doubtful)["doubts"]


def test_plots_leave_out_what_is_not_a_number():
    drawn = lines("Title <1>", "x", "y", {"a": [(1.0, 2.0), (2.0, math.nan)]})
    assert "nan" not in drawn
    assert "Title &lt;1&gt;" in drawn
    assert stacked("t", "x", {"1": {"full": 0.5, "fast": 0.5}}).count("<rect") == 2
    assert [round_up(value) for value in (0, 0.7, 3, 99, 101)] == [1, 1, 5, 100, 200]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_a_config_that_the_service_takes(variant: str):
    from deployments.model.settings import ModelKnobs

    (application,) = config_of(variant)["applications"]
    knobs = next(one["user_config"] for one in application["deployments"] if one["name"] == "Model")
    assert ModelKnobs.model_validate(knobs)


def test_no_flag_is_needed_and_quick_is_quick():
    assert parsed([]).loads == [1, 2, 4, 10]
    assert parsed([]).seconds == 60
    assert parsed(["--quick"]).seeds == 1
