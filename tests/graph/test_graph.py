"""The graph as a user gets it: the repository's config on a real Ray Serve instance, asked over HTTP."""

import base64
import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import count
from pathlib import Path

import pytest
import requests
import yaml
from PIL import Image

from demo import scene
from demo.evaluate import TILES, Case
from demo.pictures import seeds
from deployments.model.vision_model import VisionModel
from deployments.preprocess.settings import PreprocessKnobs
from deployments.preprocess.tiling import plan

pytestmark = pytest.mark.serve

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "demo" / "samples"
INDEX = json.loads((SAMPLES / "samples.json").read_text())
CORNERS = count()


def ask(live, file, question, **fields):
    data = {"question": question, **fields}
    files = {"image": (file, (SAMPLES / file).read_bytes())}
    return requests.post(f"{live.url}/v1/ask", files=files, data=data, timeout=120)


def unseen(file):
    """The sample with a corner of its own: a picture that nobody has asked about, so that no answer is kept."""
    picture = Image.open(SAMPLES / file).convert("RGB")
    picture.putpixel((0, 0), tuple(next(CORNERS).to_bytes(3)))
    encoded = BytesIO()
    picture.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def level_now(live):
    """Of an answer that is computed, not found."""
    data = {"question": "x", "max_new_tokens": 4}
    answer = requests.post(f"{live.url}/v1/ask", files={"image": unseen("order-1.png")}, data=data, timeout=120)
    return answer.json().get("level")


def test_the_preprocessor_shows_the_demo_model_what_it_was_trained_on():
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    deployments = {entry["name"]: entry for entry in config["applications"][0]["deployments"]}
    served = PreprocessKnobs.model_validate(deployments["Preprocessor"]["user_config"])
    assert served.budget == scene.KNOBS.budget == scene.BUDGET


def test_an_answer_accounts_for_its_time_and_tokens(live):
    response = ask(live, "order-1.png", INDEX[0]["questions"][0])
    body = response.json()
    assert response.status_code == 200
    assert body["level"] == "full"
    timing, usage = body["timing_ms"], body["usage"]
    assert timing["total"] == pytest.approx(sum(timing[s] for s in ("fetch", "preprocess", "queue", "generate")), abs=2)
    assert timing["generate"] > 0
    assert usage["image_tokens"] > 50
    assert usage["prompt_tokens"] > usage["image_tokens"]
    assert usage["completion_tokens"] > 0
    assert response.headers["x-request-id"] == body["request_id"]
    record = requests.get(f"{live.url}/v1/requests/{body['request_id']}", timeout=10).json()
    assert record["usage"] == usage
    assert record["source_format"] == "PNG"


def test_bad_pictures_are_refused_by_the_preprocessor_with_their_code(live):
    whole = (SAMPLES / "order-1.png").read_bytes()
    for data, status, code in [(b"hello", 415, "not_an_image"), (whole[:2000], 422, "image_truncated")]:
        response = requests.post(f"{live.url}/v1/ask", files={"image": data}, data={"question": "x"}, timeout=60)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert ask(live, "order-1.png", "x").ok


def test_twenty_clients_each_get_their_own_picture_s_answer(live):
    """Expected is what the same model answers alone, in process: right or wrong, it must be this picture's."""
    model = VisionModel.from_pretrained(SAMPLES.parent / "checkpoint")
    cases = [(entry["file"], question) for entry in INDEX for question in entry["questions"][:2]]
    expected = {case: model.generate(SAMPLES / case[0], case[1], preprocess=scene.KNOBS).text for case in cases}
    model.close()
    assert len(set(expected.values())) > len(INDEX)

    def client(number):
        found = []
        for turn in range(10):
            case = cases[(number * 7 + turn) % len(cases)]
            response = ask(live, *case)
            found.append((response.status_code, response.json().get("answer") == expected[case]))
        return found

    with ThreadPoolExecutor(20) as clients:
        results = Counter(outcome for found in clients.map(client, range(20)) for outcome in found)
    assert results == {(200, True): 200}


def test_the_evaluation_asks_the_running_service(live, tmp_path):
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "demo.evaluate", "--url", live.url, "--pictures", "2", "--beside", "0"]
    run = subprocess.run([*command, "--json", out], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert set(json.loads(out.read_text())["exact_match"]) == {"order", "waybill", "board", "document"}


def test_a_large_picture_is_read_by_its_tiles(live):
    """The service shows the model what training showed it: the same answers as in process."""
    case = Case(TILES, "board", next(seeds("board", 1, held_out=True)))
    picture, questions = case.lesson()
    file = BytesIO()
    Image.fromarray(picture.pixels).save(file, "PNG", compress_level=1)
    data = {"question": questions[0].text}
    body = requests.post(f"{live.url}/v1/ask", files={"image": file.getvalue()}, data=data, timeout=120).json()
    assert body["tiles"] == len(plan(*picture.pixels.shape[1::-1], case.budget())) > 2
    model = VisionModel.from_pretrained(SAMPLES.parent / "checkpoint")
    alone = model.generate(picture.pixels, questions[0].text, preprocess=scene.KNOBS)
    model.close()
    assert body["answer"] == alone.text
    assert body["usage"]["image_tokens"] == alone.usage.image_tokens


def test_the_unmodified_openai_client_gets_an_answer(live):
    from openai import BadRequestError, OpenAI

    client = OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)
    entry = INDEX[0]
    uri = "data:image/png;base64," + base64.b64encode((SAMPLES / entry["file"]).read_bytes()).decode()

    def messages(url):
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": entry["questions"][0]}]
        return [{"role": "user", "content": content}]

    name = client.models.list().data[0].id
    completion = client.chat.completions.create(model=name, messages=messages(uri), temperature=0)
    assert completion.choices[0].message.content == ask(live, entry["file"], entry["questions"][0]).json()["answer"]
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(model=name, messages=messages("http://127.0.0.1/a.png"))
    assert refused.value.code == "blocked_address"


def replica_pids(live, application="tuwen"):
    """Process ids of the running replicas, by deployment."""
    from ray.serve.context import _get_global_client

    details = _get_global_client().get_serve_details()["applications"][application]["deployments"]
    return {name: [r["pid"] for r in d["replicas"] if r["state"] == "RUNNING"] for name, d in details.items()}


def test_only_the_model_s_process_holds_torch_and_each_process_s_memory_is_known(live, record_property):
    pids = replica_pids(live)
    for deployment, processes in pids.items():
        for pid in processes:
            maps = Path(f"/proc/{pid}/maps").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
            resident_mb = next(int(line.split()[1]) // 1024 for line in status.splitlines() if "VmRSS" in line)
            print(f"{deployment}: {resident_mb} MB resident")
            record_property(f"{deployment}_resident_mb", resident_mb)
            assert ("libtorch" in maps) == (deployment == "Model")
    assert set(pids) == {"Ingress", "Preprocessor", "Model"}


def environment(pid):
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().partition("=")[::2] for entry in entries if entry)


def eventually(condition, timeout_s=180.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.5)


def test_a_knob_changes_on_the_running_replicas(live):
    before = replica_pids(live)
    changed = live.application
    model = next(d for d in changed["deployments"] if d["name"] == "Model")
    model["user_config"]["level"] = "fast"
    live.deploy(changed)
    eventually(lambda: level_now(live) == "fast")
    assert set(before["Model"]) <= set(replica_pids(live)["Model"])
    live.restore()
    eventually(lambda: level_now(live) == "full")


def events(response):
    """The data of each server-sent event, the last one being [DONE]."""
    lines = (
        line.removeprefix("data: ") for line in response.iter_lines(decode_unicode=True) if line.startswith("data")
    )
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_a_greedy_answer_is_streamed_and_who_hangs_up_is_forgotten(live):
    from ray import serve

    fast = live.application
    next(d for d in fast["deployments"] if d["name"] == "Model")["user_config"]["level"] = "fast"
    live.deploy(fast)
    eventually(lambda: level_now(live) == "fast")

    def stream(question):
        files = {"image": unseen("document-1.png")}
        data = {"question": question, "stream": "true"}
        return requests.post(f"{live.url}/v1/ask", files=files, data=data, stream=True, timeout=60)

    with stream("提取全部文字") as response:
        *deltas, whole, done = events(response)
    assert done == "[DONE]"
    assert len(deltas) > 10
    assert "".join(event["delta"] for event in deltas) == whole["answer"]

    with ThreadPoolExecutor(8) as clients:
        hung_up = list(clients.map(lambda _: stream("提取全部文字"), range(8)))
    for response in hung_up:
        next(response.iter_lines())
        response.close()
    model = serve.get_deployment_handle("Model", "tuwen")
    eventually(lambda: model.load.remote().result() == (0, 0), timeout_s=20)
    live.restore()


def test_beyond_the_queue_callers_get_the_holding_reply_or_the_error_they_asked_for(live):
    narrow = live.application
    model = next(d for d in narrow["deployments"] if d["name"] == "Model")
    model.update(max_ongoing_requests=1, max_queued_requests=1)
    model["autoscaling_config"].update(max_replicas=1, target_ongoing_requests=1)
    live.deploy(narrow)

    def transcribed(**fields):
        files, data = {"image": unseen("order-2.png")}, {"question": "提取全部文字", **fields}
        return requests.post(f"{live.url}/v1/ask", files=files, data=data, timeout=120)

    def burst(**fields):
        with ThreadPoolExecutor(12) as clients:
            return list(clients.map(lambda _: transcribed(**fields), range(12)))

    found = []

    def held_some():
        found[:] = burst()
        return any(r.json().get("level") == "holding" for r in found)

    eventually(held_some)
    assert {r.status_code for r in found} == {200}
    held = [r.json() for r in found if r.json()["level"] == "holding"]
    assert held[0]["answer"] == "正在为您查询，请稍候"
    assert held[0]["retry_after_s"] > 0
    refused = [r for r in burst(on_overload="error") if r.status_code != 200]
    assert {(r.status_code, r.json()["error"]["code"]) for r in refused} == {(429, "overloaded")}
    assert all(int(r.headers["Retry-After"]) >= 1 for r in refused)
    live.restore()


def test_a_prepared_picture_outlives_its_preprocessor(live):
    import os
    import signal

    from ray import serve

    from deployments.contract import Answer, Question

    preprocessor = serve.get_deployment_handle("Preprocessor", "tuwen")
    model = serve.get_deployment_handle("Model", "tuwen")
    prepared = preprocessor.prepare.remote((SAMPLES / "order-1.png").read_bytes()).result()
    for pid in replica_pids(live)["Preprocessor"]:
        os.kill(pid, signal.SIGKILL)
    question = Question("x", "订单号？", 8, time.time() + 60)
    answer = model.answer.remote(prepared.tiles, prepared.places, question).result()
    assert isinstance(answer, Answer)
    assert ask(live, "order-1.png", "订单号？").status_code == 200


def test_gpu_tickets_two_halves_fill_the_gpu_and_a_third_waits(live):
    from ray import serve

    gpu = live.application | {"name": "gpu", "route_prefix": "/gpu"}
    gpu["args"]["model"].update(device="auto", gpu_fraction=0.5, threads=1)
    model = next(d for d in gpu["deployments"] if d["name"] == "Model")
    del model["autoscaling_config"]
    model["num_replicas"] = 3
    live.deploy(live.application, gpu)

    def states():
        application = serve.status().applications.get("gpu")
        return dict(application.deployments["Model"].replica_states) if application and application.deployments else {}

    eventually(lambda: states().get("RUNNING") == 2)
    time.sleep(3)  # the third has had every chance
    assert states() == {"RUNNING": 2, "STARTING": 1}
    pids = replica_pids(live, "gpu")
    assert [environment(pid).get("CUDA_VISIBLE_DEVICES") for pid in pids["Model"]] != ["", ""]
    for deployment in ("Ingress", "Preprocessor"):
        assert {environment(pid).get("CUDA_VISIBLE_DEVICES") for pid in pids[deployment]} == {""}
    live.restore()
    eventually(lambda: "gpu" not in serve.status().applications)
