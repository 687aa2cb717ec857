"""Every row of the table of exit codes, against a small real server: what was met, what is said of it, and the code."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.cli import exit_codes, main
from serve_app.exits import MEANINGS, Exit

from .server import ANSWER, HEALTH, HOLDING, Server

ROOT = Path(__file__).resolve().parents[2]
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")
CLOSED = "http://127.0.0.1:9"


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


@pytest.fixture(autouse=True)
def no_proxies_and_no_key(monkeypatch) -> None:
    for name in (*PROXIES, "TUWEN_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str) -> int:
    """The exit code, also where the parser of the command line ends the command itself."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(str(ended.code))


def test_help_tells_every_exit_code(capsys):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert exit_codes() in shown
    assert (
        [int(code) for code in re.findall(r"^ *(\d+)  ", exit_codes(), re.MULTILINE)] == sorted(Exit) == list(MEANINGS)
    )


NOT_OURS = {
    "a list": (200, [1, 2], {}),
    "a string": (200, "ready", {}),
    "null": (200, None, {}),
    "another service's health": (200, {"status": "ok"}, {}),
    "ready, and nothing else": (200, {"ready": True}, {}),
    "a page": (200, b"<html>hello</html>", {"Content-Type": "text/html"}),
    "no bytes": (200, b"", {}),
    "brackets without an end": (200, b"[" * 100_000, {}),
    "no UTF-8": (200, b"\xff\xfe\x00", {}),
    "another service's 404": (404, {"detail": "Not Found"}, {}),
    "an error that is a string": (500, {"error": "no"}, {}),
    "a fault of a gateway": (502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
    "a redirect to itself": (302, b"", {"Location": "/healthz"}),
}


@pytest.mark.parametrize("met", NOT_OURS.values(), ids=NOT_OURS)
def test_wait_meets_somebody_else(met, server, capsys):
    status, body, headers = met
    server.reply("/healthz", body, status, headers)
    assert run("wait", server.url, "--timeout", "0") == Exit.UNREACHABLE
    error = capsys.readouterr().err
    assert "which is not this service" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("met", NOT_OURS.values(), ids=NOT_OURS)
def test_ask_meets_somebody_else(met, server, picture, capsys):
    status, body, headers = met
    server.reply("/v1/ask", body, status, headers)
    assert run("ask", picture, "多少钱？", "--url", server.url) == Exit.UNREACHABLE
    error = capsys.readouterr().err
    assert "which is not this service" in error
    assert error.count("\n") == 1


def test_a_key_is_not_sent_on_by_a_redirect(server, picture, monkeypatch):
    monkeypatch.setenv("TUWEN_API_KEY", "key-1")
    server.reply("/v1/ask", b"", 307, {"Location": f"{server.url}/elsewhere"})
    assert run("ask", picture, "x", "--url", server.url) == Exit.UNREACHABLE
    assert [path for path, _, _ in server.received] == ["/v1/ask"]


@pytest.mark.parametrize(
    ("status", "body", "headers", "after"),
    [(200, HOLDING, {}, "5 s"), (429, {"error": {"code": "overloaded", "message": "full"}}, {"Retry-After": "7"}, "7 s"), (429, b"", {}, "a moment")],
)  # fmt: skip
def test_a_busy_service_is_no_success(status, body, headers, after, server, picture, capsys):
    server.reply("/v1/ask", body, status, headers)
    assert run("ask", picture, "x", "--url", server.url) == Exit.BUSY
    told = capsys.readouterr()
    assert f"busy: ask again after {after}" in told.err
    assert ("请稍候" in told.out) == (body is HOLDING)


def test_a_holding_reply_as_json_is_no_success_either(server, picture, capsys):
    server.reply("/v1/ask", HOLDING)
    assert run("ask", picture, "x", "--url", server.url, "--json") == Exit.BUSY
    assert json.loads(capsys.readouterr().out) == HOLDING


WRONG = {
    "timeout of zero": ["--timeout", "0"],
    "negative timeout": ["--timeout=-1"],
    "timeout that is no number": ["--timeout", "nan"],
    "endless timeout": ["--timeout", "inf"],
    "no tokens": ["--max-new-tokens", "0"],
    "address without a scheme": ["--url", "127.0.0.1:8000"],
    "name without a scheme": ["--url", "localhost:8000"],
    "another scheme": ["--url", "ftp://127.0.0.1:8000"],
    "port out of range": ["--url", "http://127.0.0.1:99999"],
    "port that is none": ["--url", "http://127.0.0.1:port"],
    "port zero": ["--url", "http://127.0.0.1:0"],
    "no host": ["--url", "http://"],
    "a space in the host": ["--url", "http://127.0.0.1 :8000"],
    "a label too long": ["--url", f"http://{'a' * 70}.com"],
    "a password": ["--url", "http://user:secret@127.0.0.1:8000"],
    "a query": ["--url", "http://127.0.0.1:8000/?a=b"],
    "half an IPv6 address": ["--url", "http://[::1:8000"],
    "nothing": ["--url", ""],
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
def test_an_option_that_cannot_be_is_a_wrong_command(options, picture, capsys):
    assert run("ask", picture, "x", *options) == Exit.USAGE
    error = capsys.readouterr().err
    assert "argument --" in error
    assert "secret" not in error


def test_an_address_without_a_scheme_is_told_the_right_one(picture, capsys):
    run("ask", picture, "x", "--url", "127.0.0.1:8000")
    assert "did you mean http://127.0.0.1:8000?" in capsys.readouterr().err


@pytest.mark.parametrize("question", ["", "  \n", "坏\udcff"])
def test_a_question_that_is_none(question, picture, capsys):
    assert run("ask", picture, question, "--url", CLOSED) == Exit.USAGE
    assert "the question is" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["钥匙", "a b", "key\n", "key\r\nX: y", "\x00"])
def test_a_key_that_is_none_is_refused_and_never_shown(key, server, picture, monkeypatch, capsys):
    monkeypatch.setattr(os, "environ", {**os.environ, "TUWEN_API_KEY": key})
    assert run("ask", picture, "x", "--url", server.url) == Exit.USAGE
    error = capsys.readouterr().err
    assert "TUWEN_API_KEY is no key" in error
    assert key not in error
    assert not server.received


@pytest.mark.parametrize("command", [["check"], ["check", "--quiet"], ["preflight"], ["digest"], ["ask"]])
@pytest.mark.parametrize("path", ["", "none/such", "zero\0byte", "/dev/zero", "."])
def test_a_path_that_is_no_file_is_a_wrong_command(command, path, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*command, path, *(["x"] if command == ["ask"] else [])) == Exit.USAGE
    error = capsys.readouterr().err
    assert error.startswith(f"serve_app {command[0]}: cannot read")
    assert error.count("\n") == 1


def test_a_config_that_is_no_utf_8(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_bytes("名字: 1".encode("gbk"))
    assert run("check", str(config)) == Exit.USAGE
    assert "it is not UTF-8 (byte 1)" in capsys.readouterr().err


def test_a_file_that_is_no_picture_has_no_digest(tmp_path, capsys):
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    assert run("digest", str(path)) == Exit.REFUSED
    assert capsys.readouterr().err.startswith(f"serve_app digest: {path}: ")


def test_a_checkpoint_is_not_quantized_into_a_file(tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("")
    assert run("quantize", str(ROOT / "demo" / "checkpoint"), str(taken)) == Exit.USAGE
    assert f"cannot write to {taken}" in capsys.readouterr().err


def test_a_silent_server_ends_the_question_in_time(picture, capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert run("ask", picture, "x", "--url", url, "--timeout", "0.2") == Exit.UNREACHABLE
    assert "within 0.2 s" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("proxy", [CLOSED, "socks5://127.0.0.1:9", "no address"])
def test_loopback_is_asked_directly_whatever_proxy_is_set(name, proxy, server, picture, monkeypatch):
    monkeypatch.setenv(name, proxy)
    server.reply("/healthz", HEALTH)
    server.reply("/v1/ask", ANSWER)
    assert run("wait", server.url, "--timeout", "0") == Exit.DONE
    assert run("ask", picture, "x", "--url", server.url) == Exit.DONE


@pytest.mark.parametrize("proxy", ["http://user:secret@127.0.0.1:9", "socks5://127.0.0.1:9", "http://no address"])
def test_a_proxy_that_fails_is_named_without_its_password(proxy, picture, monkeypatch, capsys):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    assert run("ask", picture, "x", "--url", "http://service.example") == Exit.UNREACHABLE
    assert run("wait", "http://service.example", "--timeout", "0") == Exit.UNREACHABLE
    error = capsys.readouterr().err
    assert error.count("through the proxy") == 2
    assert "NO_PROXY=service.example" in error
    assert "secret" not in error
    assert "is the service running" not in error


def test_a_proxy_s_own_answer_is_not_the_service_s(server, picture, monkeypatch, capsys):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.reply("http://service.example/v1/ask", b"<html>denied</html>", 403)
    assert run("ask", picture, "x", "--url", "http://service.example") == Exit.UNREACHABLE
    assert f"through the proxy {server.url}" in capsys.readouterr().err


def test_no_password_of_netrc_takes_the_key_s_place(server, picture, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine service.example login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("TUWEN_API_KEY", "key-1")
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.reply("http://service.example/v1/ask", ANSWER)
    assert run("ask", picture, "x", "--url", "http://service.example") == Exit.DONE
    assert server.received[0][1]["Authorization"] == "Bearer key-1"


REJECTED = [
    "Preprocessor: max_pixels: Input should be greater than or equal to 1, got -5",
    "Model: level: \x1b[31mno\nsuch",
]


def test_wait_names_the_settings_that_were_refused(server, capsys):
    server.reply("/healthz", HEALTH | {"rejected": REJECTED})
    assert run("wait", server.url, "--timeout", "30") == Exit.REFUSED
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"serve_app wait: {REJECTED[0]}"
    assert lines[1] == "serve_app wait: Model: level: �[31mno such"
    assert lines[2:] == ["serve_app wait: the service runs with the old values: 2 changed settings were refused"]


@pytest.mark.parametrize("fine", [[], None, "no list", [1]])
def test_wait_is_content_with_nothing_refused(fine, server):
    server.reply("/healthz", HEALTH | {"rejected": fine})
    assert run("wait", server.url, "--timeout", "0") == Exit.DONE


def deployed(server: Server, status: str, **more: object) -> None:
    application = {"name": "tuwen", "status": status, "message": "no such folder", "deployments": {}}
    server.reply("/api/serve/applications/", {"applications": {"tuwen": application}, **more})


@pytest.mark.parametrize(("status", "code"), [("RUNNING", 0), ("DEPLOYING", 3), ("DEPLOY_FAILED", 1), ("UNHEALTHY", 0)])
def test_a_service_that_answers_is_ready_once_what_was_deployed_runs(status, code, server, capsys):
    server.reply("/healthz", HEALTH)
    deployed(server, status)
    assert run("wait", server.url, "--dashboard", server.url, "--timeout", "0") == code
    assert ("no such folder" in capsys.readouterr().err) == (code == 1)


def test_a_service_on_another_port_is_not_judged_by_the_usual_dashboard(server, monkeypatch):
    monkeypatch.setattr("serve_app.wait.DASHBOARD", server.url)
    server.reply("/healthz", HEALTH)
    deployed(server, "DEPLOY_FAILED", http_options={"port": server.port + 1})
    assert run("wait", server.url, "--timeout", "0") == Exit.DONE
    deployed(server, "DEPLOY_FAILED", http_options={"port": server.port})
    assert run("wait", server.url, "--timeout", "0") == Exit.REFUSED


def test_the_answer_of_another_service_is_not_taken_for_that_of_a_serve_without_its_port(server, capsys):
    server.reply("/healthz", HEALTH)
    deployed(server, "RUNNING", proxies={"n": {"status": "UNHEALTHY"}})
    assert run("wait", server.url, "--dashboard", server.url, "--timeout", "0") == Exit.UNREACHABLE
    assert "UNHEALTHY" in capsys.readouterr().err


@pytest.mark.parametrize("dashboard", NOT_OURS.values(), ids=NOT_OURS)
def test_somebody_else_on_the_dashboard_s_port_says_nothing(dashboard, server):
    status, body, headers = dashboard
    server.reply("/healthz", HEALTH)
    server.reply("/api/serve/applications/", body, status, headers)
    assert run("wait", server.url, "--dashboard", server.url, "--timeout", "0") == Exit.DONE


@pytest.mark.parametrize("token", ["钥匙", "", "a\nb"])
def test_a_token_file_that_holds_none_is_as_good_as_no_file(token, server, tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text(token)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    server.reply("/healthz", HEALTH)
    assert run("wait", server.url, "--dashboard", server.url, "--timeout", "0") == Exit.DONE


def command(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    """The command in a process of its own, whose pipes and signals are real."""
    line = [sys.executable, "-m", "serve_app", *arguments]
    return subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_a_reader_who_has_gone_ends_the_command_quietly():
    read, write = os.pipe()
    os.close(read)
    process = command("check", "serve_config.yaml", stdout=write)
    os.close(write)
    assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == Exit.PIPE


def test_an_output_that_cannot_be_written_is_told():
    with open("/dev/full", "w") as full:
        process = command("digest", "demo/samples/order-1.png", stdout=full)
        assert process.communicate(timeout=60)[1] == "serve_app: cannot write the output: No space left on device\n"
    assert process.returncode == Exit.USAGE


def test_a_terminal_without_the_letters_of_an_answer_still_shows_it(server, picture):
    server.reply("/v1/ask", ANSWER)
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = command("ask", picture, "x", "--url", server.url, stdout=subprocess.PIPE, env=ascii_only)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, error, out.splitlines()[0]) == (Exit.DONE, "", "\\xa512")


def test_ctrl_c_ends_a_wait_without_a_traceback():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        restore = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
        process = command("wait", url, stdout=subprocess.PIPE, preexec_fn=restore)
        silent.accept()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == Exit.INTERRUPTED
