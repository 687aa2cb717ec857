"""The command line: one-line errors and exit codes that a script can rely on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.cli import main

from .server import ANSWER, HEALTH, Server

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [ROOT / "serve_config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "订单.png"
    path.write_bytes(b"picture bytes")
    return str(path)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_every_config_of_the_repository_is_valid(config, capsys):
    assert main(["check", str(config)]) == 0
    told = capsys.readouterr()
    assert "beam_width: 4" in told.out
    assert told.err == ""  # not even a warning


def test_a_warning_is_told_and_does_not_fail_the_config(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    text = (ROOT / "serve_config.yaml").read_text()
    line = text[: text.index("checkpoint: ./demo/checkpoint")].count("\n") + 1
    config.write_text(text.replace("checkpoint: ./demo/checkpoint", "checkpoint: /models/elsewhere"))
    assert main(["check", str(config)]) == 0
    told = capsys.readouterr()
    assert "checkpoint: /models/elsewhere" in told.out
    assert told.err == (
        f"{config}: line {line}: applications[0].args.model.checkpoint: warning: "
        "/models/elsewhere does not exist here: a replica that lacks it cannot start\n"
    )


def test_only_errors_are_counted_as_problems(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    text = (ROOT / "serve_config.yaml").read_text()
    text = text.replace("checkpoint: ./demo/checkpoint", "checkpoint: /models/elsewhere")
    config.write_text(text.replace("host: 127.0.0.1", "host: 0.0.0.0"))
    assert main(["check", str(config)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-1] == f"serve_app check: {config} has 1 problem"
    assert len(told.err.splitlines()) == 3


MISSPELT = {
    "top": ("proxy_location:", "proxy_locatoin:"),
    "http_options": ("  keep_alive_timeout_s:", "  keep_alive_timeout:"),
    "logging_config": ("  encoding:", "  encodng:"),
    "application": ("    route_prefix:", "    route_prefx:"),
    "args": ("      ingress:\n        samples", "      ingres:\n        samples"),
    "args.model": ("        quantization:", "        quantisation:"),
    "args.ingress": ("        records:", "        record:"),
    "deployment": ("        max_queued_requests: 1000", "        max_queued_request: 1000"),
    "autoscaling_config": ("          max_replicas:", "          max_replica:"),
    "ray_actor_options": (
        "          num_cpus: 0.2\n          runtime_env",
        "          num_cpu: 0.2\n          runtime_env",
    ),
    "runtime_env": ("            env_vars:", "            env_var:"),
    "user_config": ("          beam_width:", "          beam_widht:"),
}


@pytest.mark.parametrize(("right", "wrong"), MISSPELT.values(), ids=MISSPELT)
def test_a_misspelt_key_at_each_level_of_the_shipped_config_is_refused_with_its_line(right, wrong, tmp_path, capsys):
    text = (ROOT / "serve_config.yaml").read_text()
    assert right in text
    position = text.index(right)
    typo, key = wrong.split(":")[0].strip(), right.split(":")[0].strip()
    line = text[:position].count("\n") + 1
    config = tmp_path / "config.yaml"
    config.write_text(text.replace(right, wrong, 1))
    assert main(["check", str(config)]) == 1
    errors = capsys.readouterr().err
    assert f"line {line}: " in errors
    assert f"unknown key '{typo}'" in errors
    assert f"did you mean '{key}'" in errors


def test_check_says_which_file_cannot_be_read(tmp_path, capsys):
    assert main(["check", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_wait_ends_when_the_service_is_ready(server, capsys):
    server.reply("/healthz", HEALTH)
    assert main(["wait", server.url]) == 0
    assert capsys.readouterr().out.startswith("ready: m on cpu")


def test_wait_tells_why_a_deployment_failed(server, capsys):
    message = (
        "Traceback:\n  File x\ndeployments.model.loading.CheckpointError: checkpoint folder /x does not exist: set it"
    )
    failed = {
        "Model": {"status": "DEPLOY_FAILED", "message": message},
        "Ingress": {"status": "UPDATING", "message": ""},
    }
    application = {"name": "tuwen", "status": "DEPLOY_FAILED", "message": "", "deployments": failed}
    server.reply("/api/serve/applications/", {"applications": {"tuwen": application}})
    assert main(["wait", server.url, "--dashboard", server.url, "--timeout", "30"]) == 1
    error = capsys.readouterr().err
    assert "application tuwen failed to deploy: checkpoint folder /x does not exist: set it" in error
    assert error.count("\n") == 1


def test_wait_gives_up_in_time_and_says_what_it_saw(server, capsys):
    server.reply("/healthz", {"ready": False, "reason": "the model is loading"}, status=503)
    server.reply("/api/serve/applications/", {"applications": {"tuwen": {"status": "DEPLOYING"}}})
    assert main(["wait", server.url, "--dashboard", server.url, "--timeout", "0.1"]) == 3
    assert "the model is loading" in capsys.readouterr().err


def test_wait_sends_ray_s_token_where_there_is_one(server, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ray-token")
    main(["wait", server.url, "--dashboard", server.url, "--timeout", "0"])
    headers = next(headers for path, headers, _ in server.received if path.startswith("/api/"))
    assert headers["Authorization"] == "Bearer ray-token"


def test_ask_prints_the_answer_and_how_it_came_about(server, picture, capsys, monkeypatch):
    monkeypatch.setenv("TUWEN_API_KEY", "key-1")
    server.reply("/v1/ask", ANSWER)
    assert main(["ask", picture, "多少钱？", "--url", server.url, "--max-new-tokens", "9"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "¥12",
        "  level full, 56 ms (fetch 0, preprocess 5, queue 1, generate 50), 30 + 3 tokens, request r-1",
    ]
    _, headers, body = server.received[0]
    assert headers["Authorization"] == "Bearer key-1"
    assert "多少钱？".encode() in body
    assert b"picture bytes" in body
    assert b'name="max_new_tokens"\r\n\r\n9' in body


def test_ask_names_a_model_only_if_it_is_told_one(server, picture, capsys):
    server.reply("/v1/ask", ANSWER)
    assert main(["ask", picture, "?", "--url", server.url]) == 0
    assert main(["ask", picture, "?", "--url", server.url, "--model", "glm-4v-9b"]) == 0
    first, second = (body for _, _, body in server.received)
    assert b'name="model"' not in first
    assert b'name="model"\r\n\r\nglm-4v-9b' in second


def test_ask_can_print_the_whole_answer_as_json(server, picture, capsys):
    server.reply("/v1/ask", ANSWER)
    assert main(["ask", picture, "多少钱？", "--url", server.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ANSWER


def test_ask_passes_the_service_s_refusal_on(server, picture, capsys):
    server.reply("/v1/ask", {"error": {"code": "not_an_image", "message": "send a picture"}}, status=415)
    assert main(["ask", picture, "x", "--url", server.url]) == 1
    assert capsys.readouterr().err == "serve_app ask: send a picture [not_an_image]\n"


def test_ask_without_a_service_or_with_another_one_says_so(server, picture, capsys):
    server.reply("/v1/ask", b"<html>")
    assert main(["ask", picture, "x", "--url", server.url]) == 3
    assert main(["ask", picture, "x", "--url", "http://127.0.0.1:9"]) == 3
    assert "is the service running?" in capsys.readouterr().err


def test_ask_needs_a_readable_picture(tmp_path, capsys):
    assert main(["ask", str(tmp_path / "none.png"), "x"]) == 2
    assert "cannot read" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["ask", "only-a-picture"]])
def test_a_wrong_command_line_is_exit_code_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
