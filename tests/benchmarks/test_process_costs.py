"""Which process of a service costs what."""

import os
import subprocess
import sys

import pytest

from benchmarks.process_costs import Seen, busy_s, cpu_s_by_role, memory_mb_by_role, parsed, role_of, tree

REPLICA = "ray::ServeReplica:tuwen:"


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (f"{REPLICA}Ingress", "ingress"),
        (f"{REPLICA}Preprocessor.handle_request", "preprocessor"),
        (f"{REPLICA}Model", "model"),
        ("ray::ServeReplica:default:Batched", "batched"),
        ("ray::ProxyActor", "proxy"),
        ("ray::ServeController.listen_for_change", "controller"),
        ("/venv/bin/python -m deployments.preprocess.worker 12 13", "decoder"),
        ("/venv/lib/ray/core/src/ray/raylet/raylet --raylet_socket_name=x", "raylet"),
        ("/venv/lib/ray/core/src/ray/gcs/gcs_server --log_dir=x", "gcs"),
        ("/venv/bin/python /venv/lib/ray/dashboard/dashboard.py --host=127.0.0.1", "dashboard"),
        ("ray-dashboard-MetricsHead-0 (python)", "dashboard"),
        ("/venv/bin/python -u /venv/lib/ray/dashboard/agent.py --node-ip-address=1", "agents"),
        ("/venv/bin/python /venv/lib/ray/_private/runtime_env/agent/main.py", "agents"),
        ("/venv/bin/python -u /venv/lib/ray/_private/log_monitor.py", "log monitor"),
        ("ray::IDLE", "idle workers"),
        ("/venv/bin/python /venv/bin/serve run serve_config.yaml", "driver"),
        ("build/peers/seed/bin/python -m benchmarks.peers.seed --port 1", "server"),
        ("build/peers/x/bin/python -m benchmarks.peers.serve_batch --port 1", "driver"),
        ("/usr/bin/redis-server 127.0.0.1:1", "other"),
    ],
)
def test_processes_have_readable_names(command: str, role: str):
    assert role_of(command) == role


def test_a_process_is_read_whatever_its_name_holds():
    ticks = os.sysconf("SC_CLK_TCK")
    fields = ["S", "7", *["0"] * 9, str(2 * ticks), str(ticks), *["0"] * 6, "4711"]
    assert parsed(9, f"9 (a) (b c) {' '.join(fields)}", "ray::ProxyActor") == Seen((9, 4711), 7, "proxy", 3.0)


def test_a_tree_is_the_process_and_all_that_descend_from_it():
    processes = {pid: Seen((pid, 0), parent, "other", 0.0) for pid, parent in ((1, 0), (2, 1), (3, 2), (4, 1), (5, 4))}
    assert {seen.key[0] for seen in tree(2, processes)} == {2, 3}
    assert {seen.key[0] for seen in tree(1, processes)} == {1, 2, 3, 4, 5}
    assert tree(6, processes) == []


def test_cpu_time_is_summed_by_role_and_counts_from_when_a_process_came():
    before = [Seen((1, 10), 0, "idle workers", 5.0), Seen((2, 10), 0, "proxy", 1.0)]
    after = [
        Seen((1, 10), 0, "model", 7.0),
        Seen((2, 99), 0, "proxy", 0.5),  # the id is used again
        Seen((3, 50), 0, "model", 0.25),
    ]
    assert cpu_s_by_role(before, after) == {"model": 2.25, "proxy": 0.5}


def test_the_machine_is_busy_with_all_but_idling():
    ticks = os.sysconf("SC_CLK_TCK")
    counts = [3, 1, 2, 500, 50, 0, 1, 1, 0, 0]
    assert busy_s(f"cpu  {' '.join(str(count * ticks) for count in counts)}\ncpu0 1 2\n") == 8.0


def test_a_real_child_is_found_with_its_memory():
    program = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = [seen for seen in tree(os.getpid()) if seen.key[0] == child.pid]
        assert [seen.parent for seen in found] == [os.getpid()]
        assert memory_mb_by_role(found)["other"] > 1
        child.communicate()
