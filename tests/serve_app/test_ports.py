"""Who holds a port, and which of two services gives way: decisions over tables, and real sockets."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys

import pytest

from serve_app.ports import Holder, PortTaken, demand_first, demand_free, demand_unshared, in_the_way, there_before
from serve_app.preflight import faults
from serve_app.processes import Listener, Process, ignores, overlap, process, session_of, shortened

OURS, THEIRS = "session_ours", "session_theirs"


def holder(address: str, session: str | None = None, started: int = 10, name: str = "ray::ProxyActor", port: int = 8000) -> Holder:  # fmt: skip
    return Holder(Listener(ipaddress.ip_address(address), port, 1), Process(4242, 1, started, (name,)), session)


UNSEEN = Holder(Listener(ipaddress.ip_address("127.0.0.1"), 8000, 1), None, None)

OVERLAPS = [
    ("127.0.0.1", "127.0.0.1", True),
    ("127.0.0.1", "127.0.0.2", False),
    ("127.0.0.1", "0.0.0.0", True),
    ("0.0.0.0", "192.0.2.1", True),
    ("::", "127.0.0.1", True),
    ("::1", "127.0.0.1", False),
    ("::1", "0.0.0.0", False),
    ("::1", "::", True),
]


@pytest.mark.parametrize(("one", "other", "shared"), OVERLAPS)
def test_which_addresses_share_a_connection(one, other, shared):
    a, b = ipaddress.ip_address(one), ipaddress.ip_address(other)
    assert overlap(a, b) == overlap(b, a) == shared


@pytest.mark.parametrize(
    ("everyone", "own_session", "held"),
    [
        ([], None, False),
        ([holder("127.0.0.1")], None, True),
        ([holder("127.0.0.1", port=8001)], None, False),
        ([holder("127.0.0.1", OURS)], OURS, False),
        ([holder("127.0.0.1", THEIRS)], OURS, True),
        ([holder("127.0.0.1", OURS), holder("0.0.0.0", THEIRS)], OURS, True),
        ([UNSEEN], OURS, True),
    ],
)
def test_a_port_is_held_by_anybody_but_the_own_session(everyone, own_session, held):
    assert (in_the_way(everyone, [ipaddress.ip_address("127.0.0.1")], 8000, own_session) is not None) == held


@pytest.mark.parametrize(
    ("everyone", "gives_way"),
    [
        ([holder("127.0.0.1", OURS, 10)], False),
        ([holder("127.0.0.1", OURS, 10), holder("127.0.0.1", THEIRS, 9)], True),
        ([holder("127.0.0.1", OURS, 10), holder("127.0.0.1", THEIRS, 11)], False),
        ([holder("127.0.0.1", OURS, 10), holder("127.0.0.1", THEIRS, 9, port=8001)], False),
        ([holder("127.0.0.1", OURS, 10), holder("127.0.0.1", OURS, 9)], False),
        ([holder("127.0.0.1", OURS, 10), holder("0.0.0.0", None, 9, "nginx")], True),
        ([holder("127.0.0.1", OURS, 10, "ray::Other"), holder("127.0.0.1", THEIRS, 9)], False),
        ([holder("127.0.0.1", OURS, 10), UNSEEN], True),
    ],
)
def test_of_two_services_on_a_port_the_younger_gives_way(everyone, gives_way):
    assert (there_before(everyone, OURS) is not None) == gives_way


def test_one_of_two_that_start_at_once_remains():
    both = [holder("127.0.0.1", OURS, 10), holder("127.0.0.1", THEIRS, 11)]
    assert [there_before(both, session) is not None for session in (OURS, THEIRS)] == [False, True]


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
def test_whoever_listens_is_named_and_a_port_just_left_is_free(bound, reuse):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((bound, 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()  # the server's end closes first, and lingers
            client.recv(1)
            for demand in (demand_free, demand_unshared):
                with pytest.raises(
                    PortTaken, match=rf"port {port} is held by process {os.getpid()} \(.*\): stop it, or"
                ):
                    demand("127.0.0.1", port)
            assert str(port) in "".join(faults({"host": bound, "port": port}, {}))
    demand_free("127.0.0.1", port)
    demand_unshared("127.0.0.1", port)


def test_an_address_that_this_machine_has_not_is_told():
    with pytest.raises(PortTaken, match=r"nothing can listen on 192\.0\.2\.77, port 8000 .*: set http_options\.host"):
        demand_free("192.0.2.77", 8000)


def test_outside_ray_there_is_no_session_to_defend():
    assert session_of(os.getpid()) is None
    demand_first()


@pytest.mark.parametrize(
    ("command", "short"),
    [
        (("/v/bin/python", "/v/bin/serve", "run", "a.yaml"), "serve run a.yaml"),
        (("nginx: master process /usr/sbin/nginx",), "nginx: master process /usr/sbin/nginx"),
        (("/usr/bin/python3.11", "-m", "http.server"), "python3.11 -m http.server"),
        (("ray::ProxyActor", ""), "ray::ProxyActor"),
        (("x" * 200,), "x" * 79 + "…"),
        ((), "?"),
    ],
)
def test_a_command_line_is_told_as_one_recognises_it(command, short):
    assert shortened(command) == short


def test_a_process_that_ignores_ctrl_c_is_known_as_one():
    script = "import signal, sys; signal.signal(signal.SIGINT, signal.{}); print(flush=True); sys.stdin.read()"
    for kind, ignored in (("SIG_IGN", True), ("SIG_DFL", False)):
        line = [sys.executable, "-c", script.format(kind)]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            assert ignores(child.pid, signal.SIGINT) == ignored
            found = process(child.pid)
            child.communicate()
        assert found is not None
        assert found.parent == os.getpid()
        assert process(child.pid) is None


TOKEN = {"RAY_AUTH_MODE": "token"}
SHORT_TMP = {"RAY_TMPDIR": "/tmp"}


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (
            TOKEN | SHORT_TMP | {"RAY_AUTH_TOKEN_PATH": "/dev/null/token"},
            "Ray cannot keep its token in /dev/null/token",
        ),
        (TOKEN | SHORT_TMP | {"RAY_AUTH_TOKEN": "t", "RAY_AUTH_TOKEN_PATH": "/dev/null/token"}, None),
        (SHORT_TMP | {"RAY_AUTH_TOKEN_PATH": "/dev/null/token"}, None),
        ({"RAY_TMPDIR": "/dev/null"}, "Ray cannot write to /dev/null/ray (Not a directory): set RAY_TMPDIR"),
        ({"RAY_TMPDIR": "/tmp/" + "a" * 60}, "too long a name for its sockets: set RAY_TMPDIR to a shorter one"),
    ],
)
def test_a_folder_that_ray_cannot_use_is_told_before_it_starts(environment, told):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    found = faults({"host": "127.0.0.1", "port": port}, environment)
    assert [told in fault for fault in found] == [True] if told else found == []
