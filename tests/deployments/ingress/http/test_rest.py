"""The REST surface's promises: the contract's JSON, and one shape with a telling code for every failure."""

import asyncio
import hashlib
from dataclasses import replace

import pytest

from deployments.contract import OVERVIEW, Verdict
from deployments.errors import (
    BlockedAddress,
    FetchFailed,
    FetchTimeout,
    ImageTooLarge,
    Overloaded,
    TuwenError,
    Unavailable,
)

PICTURE = {"image": ("a.png", b"picture bytes", "image/png")}


def test_an_answer_has_the_contract_s_fields(service):
    body = service.client.post("/v1/ask", files=PICTURE, data={"question": "多少钱？"}).json()
    assert body["answer"] == "echo 多少钱？"
    assert body["level"] == "full"
    assert body["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 20, "image_tokens": 16, "completion_tokens": 4}
    assert set(body["timing_ms"]) == {"fetch", "preprocess", "queue", "generate", "total"}
    assert (body["tiles"], body["cached"], body["gpu_memory_mb"], body["model"]) == (1, False, 0, "tuwen-test")
    assert "retry_after_s" not in body


def test_chat_is_the_same_under_its_own_field_names(service):
    assert service.client.post("/chat", files=PICTURE, data={"text": "你好"}).json()["answer"] == "echo 你好"


BAD_REQUESTS = [
    ("no picture", {"data": {"question": "x"}, "files": {"other": ("a", b"b")}}, 400, "image_missing"),
    ("empty picture", {"files": {"image": ("a.png", b"")}, "data": {"question": "x"}}, 400, "image_missing"),
    ("picture as text", {"files": {"question": (None, "x"), "image": (None, "abc")}}, 400, "invalid_request"),
    ("no question", {"files": PICTURE}, 400, "question_empty"),
    ("blank question", {"files": PICTURE, "data": {"question": " \n"}}, 400, "question_empty"),
    ("long question", {"files": PICTURE, "data": {"question": "长" * 2001}}, 400, "question_too_long"),
    ("file and address", {"files": {"image": b"x", "question": (None, "x"), "image_url": (None, "http://a/b.png")}}, 400, "invalid_request"),
    ("tokens not a number", {"files": PICTURE, "data": {"question": "x", "max_new_tokens": "many"}}, 400, "invalid_request"),
    ("no tokens", {"files": PICTURE, "data": {"question": "x", "max_new_tokens": "0"}}, 400, "invalid_request"),
    ("odd overload", {"files": PICTURE, "data": {"question": "x", "on_overload": "wait"}}, 400, "invalid_request"),
    ("json instead of a form", {"json": {"question": "x"}}, 415, "unsupported_media_type"),
    ("no body", {}, 415, "unsupported_media_type"),
    ("broken form", {"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data"}}, 400, "invalid_request"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "status", "code"), [row[1:] for row in BAD_REQUESTS], ids=[r[0] for r in BAD_REQUESTS]
)
def test_each_bad_request_has_its_code(service, request_, status, code):
    response = service.client.post("/v1/ask", **request_)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert error["message"]
    assert error["request_id"]
    assert service.model.questions == []


def by_address(service, url, **fields):
    form = {"image_url": url, "question": "x"} | fields
    return service.client.post("/v1/ask", files={name: (None, value) for name, value in form.items()})


def test_a_picture_by_address_is_fetched_and_answered(service):
    service.downloader.files["https://example.com/a.png"] = b"picture bytes"
    body = by_address(service, "https://example.com/a.png").json()
    assert body["answer"] == "echo x"
    assert service.downloader.fetched == [("https://example.com/a.png", service.pipeline.knobs.max_body_bytes)]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (BlockedAddress("not public"), 400, "blocked_address"),
        (FetchFailed("404"), 422, "fetch_failed"),
        (ImageTooLarge("large"), 413, "image_too_large"),
        (FetchTimeout("slow"), 504, "fetch_timeout"),
    ],
)
def test_a_download_s_fault_is_the_answer_and_is_tried_once(service, fault, status, code):
    service.downloader.files["https://example.com/a.png"] = fault
    response = by_address(service, "https://example.com/a.png")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert len(service.downloader.fetched) == 1
    assert service.preprocessor.calls == 0


def test_a_picture_lost_after_its_download_is_not_downloaded_again(service):
    service.downloader.files["https://example.com/a.png"] = b"picture bytes"
    service.model.faults = [Unavailable("lost")]
    assert by_address(service, "https://example.com/a.png").status_code == 200
    assert (len(service.downloader.fetched), service.preprocessor.calls) == (1, 2)


def test_an_answer_names_its_picture_s_tiles_and_flags(service):
    service.preprocessor.prepared = replace(
        service.preprocessor.prepared,
        sizes=((112, 112),) * 3,
        places=(OVERVIEW, (1, 1), (1, 2)),
        boxes=((0, 0, 900, 400), (0, 0, 500, 400), (400, 0, 900, 400)),
        size=(900, 400),
        flags=(Verdict("qr_code", 0.75, "classifier"),),
    )
    body = service.client.post("/v1/ask", files=PICTURE, data={"question": "x"}).json()
    assert (body["tiles"], body["image_size"]) == (3, [900, 400])
    assert body["tile_boxes"] == [[0, 0, 500, 400], [400, 0, 900, 400]]
    assert body["flags"] == [{"label": "qr_code", "score": 0.75, "source": "classifier"}]
    record = service.client.get(f"/v1/requests/{body['request_id']}").json()
    assert record["flags"] == body["flags"]


def test_unknown_paths_and_methods_have_the_same_shape(service):
    missing, wrong = service.client.get("/nope"), service.client.get("/v1/ask")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")


def test_a_body_announced_too_large_is_refused_unread(service):
    service.knobs(max_body_bytes=2000)
    response = service.client.post("/v1/ask", files={"image": ("a", b"x" * 200_000)}, data={"question": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_a_body_that_turns_out_too_large_is_refused_while_it_is_read(service):
    service.knobs(max_body_bytes=2000)
    sent = 0

    def endless():
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        while sent < 50_000_000:
            sent += 10_000
            yield b"x" * 10_000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = service.client.post("/v1/ask", content=endless(), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_a_picture_over_the_limit_in_a_body_within_it_is_refused(service):
    service.knobs(max_body_bytes=2000)
    response = service.client.post("/v1/ask", files={"image": ("a", b"x" * 2001)}, data={"question": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_overload_is_an_answer_with_the_holding_text(service):
    service.model.faults = [Overloaded("full", 3)]
    response = service.client.post("/v1/ask", files=PICTURE, data={"question": "x"})
    body = response.json()
    assert response.status_code == 200
    assert (body["level"], body["answer"], body["retry_after_s"]) == ("holding", "正在为您查询，请稍候", 3)


def test_overload_is_an_error_with_retry_after_for_those_who_ask(service):
    service.model.faults = [Overloaded("full", 2.2)]
    response = service.client.post("/v1/ask", files=PICTURE, data={"question": "x", "on_overload": "error"})
    assert (response.status_code, response.json()["error"]["code"]) == (429, "overloaded")
    assert response.headers["Retry-After"] == "3"


def test_a_replica_that_dies_costs_a_second_try_and_no_answer(service):
    service.model.faults = [Unavailable("gone")]
    response = service.client.post("/v1/ask", files=PICTURE, data={"question": "x"})
    assert response.json()["answer"] == "echo x"
    assert (service.preprocessor.calls, len(service.model.questions)) == (2, 2)


def test_a_service_that_stays_away_is_unavailable(service):
    service.model.faults = [Unavailable("the model is not available"), Unavailable("the model is not available")]
    response = service.client.post("/v1/ask", files=PICTURE, data={"question": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")


def test_the_deadline_is_ours_whatever_the_caller_s_headers_say(service):
    service.knobs(request_timeout_s=0.05)
    service.model.before_answer = lambda: asyncio.sleep(30)
    headers = {"x-request-timeout-seconds": "-1", "x-request-disconnect-disabled": "?1"}
    response = service.client.post("/v1/ask", files=PICTURE, data={"question": "x"}, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")


def test_the_deadline_travels_with_the_question(service):
    service.client.post("/v1/ask", files=PICTURE, data={"question": "x"})
    asked = service.model.questions[0]
    assert asked.deadline - service.pipeline._clock() == pytest.approx(30, abs=5)


def test_an_unexpected_fault_tells_nothing_of_the_inside(service):
    service.model.faults = [RuntimeError("secret path /etc/x")]
    response = service.client.post("/v1/ask", files=PICTURE, data={"question": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in response.text


def test_form_line_breaks_reach_the_model_as_newlines(service):
    service.client.post("/v1/ask", files=PICTURE, data={"question": "a\r\nb"})
    assert service.model.questions[0].text == "a\nb"


def test_a_request_is_remembered_under_the_id_that_the_answer_carries(service):
    answer = service.client.post("/v1/ask", files=PICTURE, data={"question": "秘密"}, headers={"X-Request-ID": "abc-1"})
    assert answer.json()["request_id"] == "abc-1"
    record = service.client.get("/v1/requests/abc-1")
    body = record.json()
    assert (body["level"], body["status"], body["tiles"], body["source_size"]) == ("full", 200, 1, [100, 100])
    assert body["usage"]["completion_tokens"] == 4
    assert "秘密" not in record.text


def test_a_failed_request_is_remembered_with_its_code(service):
    service.client.post("/v1/ask", files=PICTURE, data={}, headers={"X-Request-ID": "abc-2"})
    body = service.client.get("/v1/requests/abc-2").json()
    assert (body["status"], body["error"]) == (400, "question_empty")


def test_an_unknown_request_is_not_found(service):
    assert service.client.get("/v1/requests/never").status_code == 404


def test_a_request_id_unfit_for_logs_is_replaced(service):
    headers = {"X-Request-ID": "a b\tc" + "d" * 300}
    answer = service.client.post("/v1/ask", files=PICTURE, data={"question": "x"}, headers=headers)
    assert len(answer.json()["request_id"]) == 36


def test_healthz_names_what_serves(service):
    body = service.client.get("/healthz").json()
    assert body["ready"] is True
    assert (body["model"], body["device"], body["quantization"], body["level"]) == ("tuwen-test", "cpu", "none", "full")
    assert (body["safety"], body["cache"]) == ([], "none")
    assert body["limits"]["max_body_bytes"] == service.pipeline.knobs.max_body_bytes


def test_healthz_is_503_while_the_model_is_away(service):
    service.model.info_faults = [TuwenError("not yet")]
    response = service.client.get("/healthz")
    assert (response.status_code, response.json()["ready"]) == (503, False)


def test_healthz_stays_ready_while_the_model_is_only_busy(service):
    now = [1000.0]
    service.pipeline.watch._clock = lambda: now[0]
    assert service.client.get("/healthz").status_code == 200
    service.model.info_faults = [Overloaded("full")]
    assert service.client.get("/healthz").status_code == 200
    now[0] += 31
    service.model.info_faults = [Overloaded("full")]
    assert service.client.get("/healthz").status_code == 503


KEY = "secret-key"
DIGESTS = (hashlib.sha256(b"another").hexdigest(), hashlib.sha256(KEY.encode()).hexdigest())


@pytest.mark.parametrize("header", [None, "Bearer wrong", f"Basic {KEY}", KEY, "Bearer", "Bearer "])
@pytest.mark.parametrize("path", ["/v1/ask", "/chat", "/v1/chat/completions", "/v1/models", "/v1/requests/x"])
def test_without_an_accepted_key_protected_paths_are_closed(service, header, path):
    service.knobs(api_key_sha256=DIGESTS)
    response = service.client.post(path, headers={"Authorization": header} if header else {})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")


def test_with_an_accepted_key_they_are_open_and_the_rest_always_is(service):
    service.knobs(api_key_sha256=DIGESTS)
    headers = {"Authorization": f"Bearer {KEY}"}
    assert service.client.post("/v1/ask", files=PICTURE, data={"question": "x"}, headers=headers).status_code == 200
    assert service.client.get("/healthz").status_code == 200
    assert service.client.get("/").status_code == 200


def test_openapi_lists_the_surface(service):
    paths = service.client.get("/openapi.json").json()["paths"]
    assert {"/v1/ask", "/chat", "/v1/chat/completions", "/v1/models", "/v1/requests/{request_id}", "/healthz"} <= set(
        paths
    )


def test_the_page_and_its_samples_are_served(service):
    page = service.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    samples = service.client.get("/samples").json()
    assert samples
    assert set(samples[0]) == {"file", "title", "questions"}
    assert service.client.get(f"/samples/{samples[0]['file']}").headers["content-type"] == "image/png"
    assert service.client.get("/samples/samples.json").status_code == 404
    assert service.client.get("/samples/..%2F__init__.py").status_code == 404
