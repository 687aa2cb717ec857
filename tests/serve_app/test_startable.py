"""A version that no replica could start is refused before any is touched."""

from pathlib import Path

import pytest

from deployments.model.settings import ModelSettings
from deployments.preprocess.safety.settings import ClipSettings, SafetySettings
from serve_app.graph import absolute, located
from serve_app.startable import check_startable

MODEL = ModelSettings(checkpoint=absolute("./demo/checkpoint"))
SAFETY = located(SafetySettings())


def test_the_demo_is_startable():
    check_startable(MODEL, SAFETY, nodes=1)


MISSING = "/nowhere/at/all"
BROKEN = [
    ("checkpoint", MODEL.model_copy(update={"checkpoint": MISSING}), SAFETY),
    ("blocklist", MODEL, SAFETY.model_copy(update={"blocklist": MISSING})),
    ("cards", MODEL, SAFETY.model_copy(update={"cards": MISSING})),
    ("classifier", MODEL, SAFETY.model_copy(update={"classifier": MISSING})),
    ("clip", MODEL, SAFETY.model_copy(update={"clip": ClipSettings(folder=MISSING, phrases={"a": "b"})})),
]


@pytest.mark.parametrize(("model", "safety"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_is_missing_is_refused_by_its_path_unless_it_may_be_on_another_node(model, safety):
    with pytest.raises(ValueError, match=MISSING):
        check_startable(model, safety, nodes=1)
    check_startable(model, safety, nodes=2)


def test_what_is_here_and_broken_is_refused_on_any_cluster(tmp_path: Path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json"):
        check_startable(MODEL.model_copy(update={"checkpoint": str(tmp_path)}), SAFETY, nodes=5)
    with pytest.raises(ValueError, match=str(tmp_path)):
        check_startable(MODEL, SAFETY.model_copy(update={"cards": str(tmp_path)}), nodes=5)
