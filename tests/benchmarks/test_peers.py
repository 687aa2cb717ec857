"""The comparison with peers: what is asked, what counts, and what is written."""

import asyncio
import json
import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from PIL import Image

from benchmarks.peers import __main__ as peers
from benchmarks.peers import ours
from benchmarks.peers.__main__ import OURS_DTYPE, parsed, result, subjects, turns
from benchmarks.peers.dialects import DIALECTS, MAX_NEW_TOKENS
from benchmarks.peers.environments import environment
from benchmarks.peers.figures import Figures, faster, figures, merged, middle, percentile
from benchmarks.peers.load import Record, Reply, Window, drive, reply_of
from benchmarks.peers.measuring import Session, demand_answers
from benchmarks.peers.questions import WARM_UP, Asked, Mix, draw, plan
from benchmarks.peers.report import cost_table, counted, doubts, sum_table, table
from benchmarks.peers.services import DTYPES, PEERS, SERVICES, NotStarted, Start, running
from benchmarks.process_costs import Seen, everyone
from demo.families import FAMILIES

FIGURES = Figures(
    requests_per_s=10.0, p50_ms=80.0, p99_ms=200.0, tokens_per_s=300.0, right_share=0.9, errors=0,
    cpu_ms_per_request={"model": 80.0, "proxy": 5.0}, stages_ms={"generate": 60.0}, client_cpu_share=0.02, others_cpu_share=0.05,
)  # fmt: skip


def test_half_of_any_questions_are_transcriptions_of_all_families_and_both_kinds_of_file():
    mixes = Counter(Mix.of(number) for number in range(len(FAMILIES) * 4 * 5))
    assert len(mixes) == len(FAMILIES) * 4
    assert set(mixes.values()) == {5}


def test_no_question_comes_twice_in_a_run():
    planned = plan([1, 16], seconds=5, rounds=3)
    numbers = [number for by_clients in planned for part in by_clients.values() for number in part]
    assert len(numbers) == len(set(numbers))
    assert not set(numbers) & set(WARM_UP)


def test_each_question_has_a_picture_file_of_its_own_and_is_drawn_once(tmp_path: Path, demo_fonts: None):
    asked = [draw(number, tmp_path) for number in range(len(FAMILIES) * 4)]
    formats = Counter(Image.open(one.file).format for one in asked)
    assert formats == {"PNG": 8, "JPEG": 8}
    assert Counter(one.kind == "transcription" for one in asked) == {True: 8, False: 8}
    assert len({Path(one.file).read_bytes() for one in asked}) == len(asked)
    drawn = Path(asked[0].file).stat().st_mtime_ns
    assert draw(0, tmp_path) == asked[0]
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert Path(draw(0, moved).file) == moved / Path(asked[0].file).name
    moved.rename(tmp_path)
    assert Path(asked[0].file).stat().st_mtime_ns == drawn


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([5.0], 0.99, 5.0), ([1.0, 3.0], 0.5, 2.0), ([3.0, 1.0, 2.0], 0.5, 2.0), ([0.0, 100.0], 0.99, 99.0)],
)
def test_percentiles(values: list[float], share: float, expected: float):
    assert percentile(values, share) == pytest.approx(expected)


def test_a_percentile_of_nothing_is_not_a_number():
    assert math.isnan(percentile([], 0.5))


def test_figures_of_a_record():
    replies = [
        Reply("ab", "field", 100.0, "ab", stages_ms={"generate": 40.0}),
        Reply("ab", "field", 300.0, "abc", stages_ms={"generate": 60.0}),
        Reply("ab", "field", 1.0, fault="429 full"),
    ]
    found = figures(Record(2.0, replies, {"model": 0.5, "proxy": 0.1}, 0.2, 0.4), len)
    assert found == Figures(
        requests_per_s=1.0, p50_ms=200.0, p99_ms=pytest.approx(298.0), tokens_per_s=2.5, right_share=0.5, errors=1,
        cpu_ms_per_request={"model": 250.0, "proxy": 50.0}, stages_ms={"generate": 50.0}, client_cpu_share=0.1, others_cpu_share=0.2,
    )  # fmt: skip


def test_medians_over_rounds_know_processes_that_a_round_lacks():
    rounds = [replace(FIGURES, requests_per_s=rate) for rate in (9.0, 30.0, 10.0)]
    assert middle(rounds) == FIGURES
    assert merged([{"a": 1.0}, {"a": 3.0, "b": 9.0}, {"a": 2.0}]) == {"a": 2.0, "b": 0.0}


def test_the_faster_type_counts_at_each_number_of_clients():
    slow, fast = FIGURES, replace(FIGURES, requests_per_s=20.0)
    measured = {"litserve": {"float32": {1: fast, 16: slow}, "bfloat16": {1: slow, 16: fast}}}
    assert counted(measured) == {"litserve": {1: fast, 16: fast}}
    assert faster({"float32": slow, "bfloat16": fast}) == "bfloat16"


class Clock:
    """Time that goes on by itself: one second a question."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asked_in_turn(clock: Clock, count: int, sent: list[int]):
    async def send() -> Reply:
        sent.append(1)
        await asyncio.sleep(0)
        clock.now += 1
        return Reply("a", "field", clock.now, "a")

    return iter([send] * count)


def window(clock: Clock, clients: int, ramp_s: float, seconds: float) -> Window:
    return Window(clients, ramp_s, seconds, lambda: ([Seen((1, 1), 0, "model", clock.now / 2)], clock.now), clock)


def test_replies_count_after_the_ramp_and_for_the_given_time():
    clock, sent = Clock(), list[int]()
    counting = window(clock, clients=2, ramp_s=5, seconds=10)
    asyncio.run(drive(2, asked_in_turn(clock, 1000, sent), counting))
    record = counting.record()
    assert record.seconds == 10
    assert [reply.ms for reply in record.replies] == [*range(6, 16)]
    assert record.cpu_s == {"model": 5.0}
    assert record.others_cpu_s == pytest.approx(5.0, abs=0.5)  # ten seconds busy, half of them not the model
    assert len(sent) <= 17


def test_counting_begins_when_every_client_is_served_and_ends_when_one_has_nothing_more_to_ask():
    clock = Clock()
    counting = window(clock, clients=4, ramp_s=0, seconds=100)
    asyncio.run(drive(4, asked_in_turn(clock, 10, []), counting))
    assert [reply.ms for reply in counting.record().replies] == [5, 6, 7]


def test_a_service_that_refuses_everything_is_no_result():
    clock = Clock()
    counting = window(clock, clients=4, ramp_s=60, seconds=100)
    asyncio.run(drive(4, asked_in_turn(clock, 10, []), counting))
    assert len(counting.record().replies) == 10
    refused = [replace(reply, fault="422 no") for reply in counting.record().replies]
    with pytest.raises(NotStarted, match="422 no"):
        demand_answers(replace(counting.record(), replies=refused))


ASKED = Asked("", "问", "答", "field")


@pytest.mark.parametrize(
    ("status", "body", "reply"),
    [
        (
            200,
            {"answer": "答", "timing_ms": {"queue": 1, "fetch": None}},
            Reply("答", "field", 5, "答", "", {"queue": 1}),
        ),
        (429, {"error": 1}, Reply("答", "field", 5, fault='429 {"error":1}')),
        (200, {"detail": 1}, Reply("答", "field", 5, fault='200 {"detail":1}')),
    ],
)
def test_replies_are_read(status: int, body: object, reply: Reply):
    assert reply_of(ASKED, httpx.Response(status, json=body), 5, DIALECTS["form"].answer) == reply


def test_both_dialects_send_the_same_file_and_ask_for_as_many_tokens(tmp_path: Path):
    file = tmp_path / "1.jpg"
    file.write_bytes(b"picture")
    form, chat = (DIALECTS[name].content(replace(ASKED, file=str(file))) for name in ("form", "chat"))
    assert form["files"]["image"] == ("1.jpg", b"picture")
    assert form["data"]["max_new_tokens"] == str(MAX_NEW_TOKENS)
    picture, words = chat["json"]["messages"][0]["content"]
    assert picture["image_url"]["url"] == "data:image/jpeg;base64,cGljdHVyZQ=="
    assert words["text"] == form["data"]["question"] == "问"
    assert chat["json"]["max_tokens"] == MAX_NEW_TOKENS


def test_ours_runs_on_the_shipped_config_but_for_its_port_and_level():
    shipped = ours.shipped()
    assert ours.changed(shipped, shipped["http_options"]["port"], None) == shipped
    fast = ours.changed(shipped, 1234, "fast", "other:build")
    (application,) = fast["applications"]
    levels = {one["name"]: one["user_config"].get("level") for one in application["deployments"]}
    assert (fast["http_options"]["port"], levels["Model"], application["import_path"]) == (1234, "fast", "other:build")
    assert levels["Ingress"] is None


def test_ours_has_the_variables_of_the_makefile():
    makefile = "export PYTHON\nexport A_B ?= 0\nexport C ?= x.y:z\nexport PATH := $(CURDIR)\n"
    assert ours.makefile_environment(makefile) == {"A_B": "0", "C": "x.y:z"}
    assert "RAY_AUTH_MODE" in ours.environment()


def test_every_subject_has_its_turn_in_each_round():
    every = subjects(SERVICES, DTYPES)
    assert len(every) == len(ours.LEVELS) + len(PEERS) * len(DTYPES)
    taken = list(turns(3, every))
    assert all({subject for turn, subject in taken if turn == number} == set(every) for number in range(3))
    assert len({next(subject for turn, subject in taken if turn == number) for number in range(3)}) == 3


def test_of_several_tries_the_first_that_is_undisturbed_counts_or_else_the_least_disturbed(
    monkeypatch: pytest.MonkeyPatch,
):
    def disturbed(cores: float) -> Session:
        return Session({1: Record(10.0, [], {}, 0.0, cores * 10)}, {}, 1.0)

    def taken(*cores: float) -> tuple[float, int]:
        left, said = iter(cores), list[str]()
        monkeypatch.setattr(peers, "one_session", lambda *_: disturbed(next(left)))
        options = parsed(["--tries", str(len(cores))])
        one = peers.quietest_session(("seed", "float32"), {}, [], options, said.append)
        return one.others_cores, len(list(left))

    assert taken(0.9, 0.1, 0.0) == (0.1, 1)
    assert taken(0.9, 0.5, 0.7) == (0.5, 0)


def test_a_service_that_cannot_be_had_is_left_out_and_told_of_at_the_end(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> Session:
        raise NotStarted("no such model")

    said = list[str]()
    for name, instead in (("make_environments", lambda *_: None), ("one_session", refuse)):
        monkeypatch.setattr(peers, name, instead)
    monkeypatch.setattr(peers, "draw_all", lambda numbers, _: dict.fromkeys(numbers, ASKED))
    options = parsed(["--services", "seed", "--rounds", "1", "--dtypes", "float32", "--clients", "1"])
    assert peers.measure(options, said.append, lambda _: None) == {}
    assert said[-1] == "  left out of this round: no such model"
    assert peers.missing({}, options) == [("seed", "float32")]


def test_the_json_has_the_pinned_shape():
    options = parsed(["--clients", "16", "1", "--rounds", "1"])
    record = Record(1.0, [Reply("a", "field", 5.0, "a")], {"model": 0.1}, 0.01, 0.0)
    sessions = {
        subject: [Session({1: record, 16: record}, {"model": 100.0}, 3.0)] for subject in subjects(SERVICES, DTYPES)
    }
    found, best = result(sessions, options)
    found = json.loads(json.dumps(found))
    services = {"ours_fast", "ours_full", "ours_shipped", "seed", "transformers_serve", "litserve", "serve_batch"}
    for figure in ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms_per_request"):
        assert services <= found[figure].keys()
        assert all(by.keys() == {"1", "16"} for by in found[figure].values())
    assert found["cpu_ms_per_request"]["ours_fast"]["16"] == {"model": 100.0}
    assert found["requests_per_s"]["seed"]["1"] == 1.0
    assert found["dtypes"].keys() == PEERS.keys()
    assert found["dtypes"]["seed"]["faster"] == {"1": "float32", "16": "float32"}
    assert found["memory_mb"]["ours_fast"] == {"sum": 100.0, "model": 100.0}
    assert found["ready_s"]["seed, bfloat16"] == 3.0
    assert OURS_DTYPE not in found["dtypes"]
    assert "| ours_fast | 1.0 · 5 · 5 | 1.0 · 5 · 5 | 1 | 100.0% | 0 |" in table(best)


def test_tables_show_processes_that_cost_most_first_and_doubts_are_named():
    lines = cost_table({"ours_fast": {16: FIGURES}}, [16]).splitlines()
    assert lines[0] == "| CPU ms a request | ours_fast, 16 |"
    assert lines[2:] == ["| model | 80.0 |", "| proxy | 5.0 |", "| **sum** | 85.0 |"]
    assert sum_table({"ours_fast": {1: FIGURES, 16: FIGURES}}).splitlines()[-1] == "| ours_fast | 85 | 85 |"
    busy = {
        "ours_fast": {1: FIGURES, 16: replace(FIGURES, others_cpu_share=1), 64: replace(FIGURES, client_cpu_share=0.7)}
    }
    assert doubts(busy) == [
        "In doubt: ours_fast at 16 clients, where something else on this machine took 100% of a core.",
        "In doubt: ours_fast at 64 clients, where the load client took 70% of a core.",
    ]


def test_an_environment_sees_our_packages_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.peers.environments.FOLDER", tmp_path)
    python = environment("nothing", (), fresh=False)
    packages = next((tmp_path / "nothing" / "lib").glob("python*")) / "site-packages"
    assert str(Path(sys.prefix)) in (packages / "host.pth").read_text()
    made = python.lstat().st_mtime_ns
    assert environment("nothing", (), fresh=False).lstat().st_mtime_ns == made


def started(tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch, is_ready: bool) -> Start:
    monkeypatch.setattr("benchmarks.peers.services.FOLDER", tmp_path)
    return Start([sys.executable, "-c", program], {}, 1, "form", lambda _: is_ready)


def test_a_service_ends_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    child = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    program = (
        "import subprocess, sys, pathlib; "
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE); child.stdout.readline(); "
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid)); child.wait()"
    )
    monkeypatch.setattr("benchmarks.peers.services.END_S", 0.5)
    start = replace(started(tmp_path, program, monkeypatch, True), is_ready=lambda _: (tmp_path / "pid").exists())
    with running("two", start):
        child_pid = int((tmp_path / "pid").read_text())
        assert Path(f"/proc/{child_pid}").exists()
    left = everyone().get(child_pid)
    assert left is None or left.is_zombie


def test_a_service_that_ends_by_itself_is_told_of_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    start = started(tmp_path, "raise SystemExit('no such model')", monkeypatch, False)
    with pytest.raises(NotStarted, match="no such model"), running("one", start):
        pass
