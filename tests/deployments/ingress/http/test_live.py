"""The live panel's endpoint: the present as JSON, the last minutes as events, and who may send a burst."""

import asyncio
import json

import pytest

from deployments.contract import Level, Load
from deployments.errors import Overloaded
from deployments.ingress.http import live
from deployments.ingress.http.live import WATCHERS, Watchers, events
from deployments.ingress.traffic import COUNTED

from ..conftest import FakeModel


def counted(service):
    seconds = service.pipeline.traffic.seconds()
    return {name: sum(second[name] for second in seconds) for name in COUNTED}


def asked(service, **fields):
    files = {"image": ("a.png", b"picture")}
    return service.client.post("/v1/ask", files=files, data={"question": "x", **fields})


def test_what_was_asked_and_answered_is_counted(service):
    asked(service)
    service.model.faults = [Overloaded("full", 2.5)]
    held = asked(service).json()
    assert (held["level"], held["retry_after_s"]) == ("holding", 2.5)
    assert counted(service) == {"offered": 2, "admitted": 2, "full": 1, "fast": 0, "holding": 1, "failed": 0}
    body = service.client.get("/v1/load").json()
    assert (body["replicas"], body["level"]) == (1, "full")
    assert set(body["per_s"]) == set(COUNTED)


def test_a_request_that_is_refused_as_wrong_is_failed_and_not_answered(service):
    assert service.client.post("/v1/ask", data={"question": "x"}, files={"image": ("a", b"")}).status_code == 400
    assert counted(service)["failed"] == 1


def stream(service, count):
    """The data of the first events."""

    async def scene():
        found, items = [], events(service.pipeline, Watchers())
        async for event in items:
            found.append(json.loads(event.removeprefix("data: ")))
            if len(found) == count:
                await items.aclose()
                return found
        return found

    return asyncio.run(scene())


def test_the_stream_begins_with_what_is_remembered(service):
    clock = [1000.0]
    service.pipeline.traffic._clock = lambda: clock[0]
    for _ in range(3):
        service.pipeline.traffic.count("offered")
        clock[0] += 1
    (first,) = stream(service, 1)
    assert [second["offered"] for second in first["seconds"]][:3] == [1, 1, 1]
    assert first["now"]["level"] == "full"
    assert first["burst"] is False


def test_streams_end_by_themselves_and_are_counted(service, monkeypatch):
    monkeypatch.setattr(live, "STREAM_S", 0.01)
    assert len(stream(service, 100)) == 1
    response = service.client.get("/v1/load", headers={"Accept": "text/event-stream"})
    assert response.headers["content-type"].startswith("text/event-stream")
    full = Watchers()
    full.count = WATCHERS
    with pytest.raises(Overloaded):
        full.demand_room()


def test_a_burst_needs_the_operator_s_leave(service):
    assert service.client.post("/v1/load/burst").status_code == 404


def test_the_load_asks_for_a_key_where_one_is_needed(service):
    service.knobs(api_key_sha256=("0" * 64,))
    assert service.client.get("/v1/load").status_code == 401
    assert service.client.post("/v1/load/burst").status_code == 401
    assert service.client.get("/live").status_code == 200


def test_the_panel_loads_nothing_from_elsewhere(service):
    response = service.client.get("/live")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "http://" not in response.text.replace("http://www.w3.org", "")


def overloaded(limit_s=3.0):
    """A replica at holding with a long queue."""
    return Load(16, 200, Level.HOLDING, "a", 16, 16, 0.1, 0.5, 5.0, limit_s)


def test_under_overload_nothing_is_downloaded_decoded_or_handed_on(service):
    service.pipeline.watch.loaded(overloaded())
    form = {"question": (None, "x"), "image_url": (None, "https://example.com/a.png")}
    body = service.client.post("/v1/ask", files=form).json()
    assert body["level"] == "holding"
    assert body["retry_after_s"] == pytest.approx(20.1, abs=0.5)
    assert asked(service).json()["level"] == "holding"
    assert service.downloader.fetched == []
    assert service.preprocessor.calls == 0
    assert service.model.questions == []
    refused = asked(service, on_overload="error")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
    assert int(refused.headers["retry-after"]) >= 20


def test_what_was_shed_is_told_to_the_model_with_the_next_question(service):
    service.pipeline.watch.loaded(overloaded())
    for _ in range(3):
        asked(service)
    service.pipeline.watch.loaded(Load(0, 0, Level.FAST, "a", 16, 0, 0.1, 0.5))
    asked(service)
    assert [question.shed for question in service.model.questions] == [3]


def test_deadline_user_and_priority_travel_with_the_question(service):
    asked(service, timeout_s="4", user="me", priority="batch")
    (question,) = service.model.questions
    assert (question.flow.user, question.flow.batch) == ("me", True)
    asked(service)
    assert service.model.questions[1].deadline - question.deadline == pytest.approx(26, abs=1)


@pytest.mark.parametrize(
    "fields",
    [{"timeout_s": "0"}, {"timeout_s": "nan"}, {"timeout_s": "inf"}, {"priority": "urgent"}, {"user": "x" * 65}],
)
def test_wishes_that_mean_nothing_are_refused(service, fields):
    assert asked(service, **fields).status_code == 400


def test_a_longer_wait_than_the_service_s_own_is_not_granted(service):
    asked(service, timeout_s="3600")
    asked(service)
    first, second = service.model.questions
    assert first.deadline == pytest.approx(second.deadline, abs=1)


def test_a_short_deadline_is_held_where_a_long_one_waits(service):
    service.pipeline.watch.loaded(Load(16, 60, Level.FAST, "a", 16, 16, 0.1, 0.5))
    assert asked(service, timeout_s="2").json()["level"] == "holding"
    assert asked(service, timeout_s="20").json()["level"] == "full"


def test_a_fault_is_tried_again_but_not_where_that_would_add_to_an_overload(service):
    from deployments.errors import Unavailable

    service.model.faults = [Unavailable("gone")]
    assert asked(service).json()["level"] == "full"
    assert len(service.model.questions) == 2
    service.pipeline.watch.loaded(Load(0, 0, Level.HOLDING, "", 16, 0, 0.1, 0.5, 0.0, 3.0))
    service.model.faults = [Unavailable("gone")]
    assert asked(service).json()["level"] == "holding"
    assert len(service.model.questions) == 3


def test_the_load_of_a_refusal_is_heard(service):
    full = Overloaded("full", 1.0)
    full.load = overloaded()
    service.model.faults = [full]
    assert asked(service).json()["level"] == "holding"
    assert service.pipeline.watch.fleet.level is Level.HOLDING
    assert isinstance(service.model, FakeModel)
