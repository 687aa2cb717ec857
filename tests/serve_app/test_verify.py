"""``verify``: every check told, and an exit code that says whether all of them passed."""

import json
import re
import shutil
from pathlib import Path

import pytest

from serve_app.cli import main

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo" / "checkpoint"
SAMPLES = ROOT / "demo" / "samples"


@pytest.fixture
def samples(tmp_path):
    """A function that makes a folder of one picture, with the answers that are given."""

    def make(**answers):
        shutil.copy(SAMPLES / "order-1.png", tmp_path)
        entry = {"file": "order-1.png", "questions": list(answers), "answers": list(answers.values())}
        (tmp_path / "samples.json").write_text(json.dumps([entry], ensure_ascii=False))
        return str(tmp_path)

    return make


def test_a_good_checkpoint_passes_every_check(capsys):
    assert main(["verify", str(DEMO), "--device", "cpu", "--least", "0.9"]) == 0
    out = capsys.readouterr().out
    assert "FAILED" not in out
    assert re.findall(r"^ok +([a-z ]+):", out, re.MULTILINE) == [
        "files", "weights", "end tokens", "prompt", "engine", "answers", "leftovers", "ends", "attention",
    ]  # fmt: skip


def test_wrong_answers_fail_and_are_shown(samples, capsys):
    folder = samples(**{"状态是什么？": "退款中", "快递是什么？": "顺丰速运", "收件人是什么？": "张三"})
    assert main(["verify", str(DEMO), "--device", "cpu", "--samples", folder]) == 1
    out = capsys.readouterr().out
    assert "FAILED answers: 1 of 3 right (33%; at least 50% wanted)" in out
    assert "WRONG order-1.png 快递是什么？ → '京东物流'" in out
    assert main(["verify", str(DEMO), "--device", "cpu", "--samples", folder, "--least", "0.3"]) == 0


def test_what_cannot_be_loaded_is_refused_by_name(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "nowhere")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_samples_that_are_none_are_a_wrong_command(tmp_path, capsys):
    assert main(["verify", str(DEMO), "--samples", str(tmp_path)]) == 2
    assert "samples" in capsys.readouterr().err
    with pytest.raises(SystemExit) as usage:
        main(["verify", str(DEMO), "--least", "2"])
    assert usage.value.code == 2
