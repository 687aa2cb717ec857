"""Blocked files and their look-alikes, and what is never taken for one."""

from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from deployments.preprocess.safety.blocklist import LABEL, Blocklist, dhash
from deployments.preprocess.safety.check import Subject
from serve_app.cli import main

SAMPLES = Path(__file__).parents[4] / "demo" / "samples"


def photo(seed=0):
    noise = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((600, 450), Image.Resampling.BICUBIC)


def subject(image, data=b""):
    return Subject(np.asarray(image.convert("RGB")), sha256(data).hexdigest(), "picture")


def listed(tmp_path, *lines):
    path = tmp_path / "blocklist.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return Blocklist.load(str(path))


def test_a_file_on_the_list_is_found_by_its_bytes(tmp_path):
    blocklist = listed(tmp_path, "# ours", f"sha256:{sha256(b'file').hexdigest().upper()} # a comment", "")
    assert blocklist.scores(subject(photo(), b"file")) == {LABEL: 1.0}
    assert blocklist.scores(subject(photo(), b"other")) == {}


def recompressed(image):
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer)


@pytest.mark.parametrize(
    "edit",
    [
        lambda image: image.resize((224, 168)),
        recompressed,
        lambda image: ImageEnhance.Brightness(image).enhance(1.2),
        lambda image: image.convert("L"),
    ],
    ids=["smaller", "JPEG 40", "brighter", "grey"],
)
def test_look_alikes_are_found_and_others_are_not(tmp_path, edit):
    blocklist = listed(tmp_path, f"dhash:{dhash(np.asarray(photo())):016x}")
    assert blocklist.scores(subject(edit(photo())))[LABEL] >= 60 / 64
    assert all(blocklist.scores(subject(edit(photo(seed)))) == {} for seed in range(1, 50))


def test_plain_pictures_are_no_look_alikes(tmp_path):
    blocklist = listed(tmp_path, "dhash:0000000000000000", "dhash:ffffffffffffffff")
    for colour in ("white", "black", "red"):
        assert blocklist.scores(subject(Image.new("RGB", (300, 300), colour))) == {}


def test_no_sample_is_a_look_alike_of_another(tmp_path):
    files = sorted(SAMPLES.glob("*.png")) + sorted(SAMPLES.glob("*.jpg"))
    assert len(files) > 5
    for file in files:
        blocklist = listed(tmp_path, f"dhash:{dhash(np.asarray(Image.open(file).convert('RGB'))):016x}")
        found = [other.name for other in files if blocklist.scores(subject(Image.open(other)))]
        assert set(found) <= {other.name for other in files if other.name[:5] == file.name[:5]}


def test_the_command_s_lines_refuse_the_picture_and_its_look_alikes(tmp_path, capsys):
    file = SAMPLES / "order-1.png"
    assert main(["digest", str(file)]) == 0
    by_file, by_looks = capsys.readouterr().out.split()
    whole = Image.open(file)
    assert listed(tmp_path, by_file).scores(subject(whole, file.read_bytes())) == {LABEL: 1.0}
    assert LABEL in listed(tmp_path, by_looks).scores(subject(whole.resize((200, 300))))


def test_the_command_names_what_is_no_picture(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("hello")
    assert main(["digest", str(tmp_path / "a.txt")]) == 1
    assert main(["digest", str(tmp_path / "missing")]) == 2
    assert "not a picture" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["sha256:12", "md5:" + "0" * 32, "dhash:xyz", "0" * 64, "sha256"])
def test_a_line_that_is_wrong_is_named(tmp_path, line):
    with pytest.raises(ValueError, match="line 2"):
        listed(tmp_path, "# fine", line)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.txt"):
        Blocklist.load(str(tmp_path / "nothing.txt"))
