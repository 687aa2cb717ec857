"""The same questions given to a ``VisionModel`` in one process, one after the other, as the config sets it.

A process of its own (``python -m benchmarks.overhead.direct``): questions come as JSON on stdin, a ``Direct`` goes out.
Each picture is asked about twice, from its file and with its pixels prepared, in turns; what is kept of pictures is
off, so that the second does not profit from the first.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers import ours
from benchmarks.peers.dialects import MAX_NEW_TOKENS
from benchmarks.peers.questions import WARM_UP, Asked
from deployments.model.settings import ModelKnobs, ModelSettings
from deployments.model.vision_model import VisionModel, prepared
from deployments.preprocess.picture import Tiles
from deployments.preprocess.settings import PreprocessKnobs
from serve_app.graph import absolute
from serve_app.settings import AppSettings


@dataclass(frozen=True, slots=True)
class Direct:
    """Milliseconds of each question: ``whole_ms`` from the file's bytes, ``engine_ms`` from prepared pixels."""

    whole_ms: list[float]
    engine_ms: list[float]


def user_config(application: dict[str, Any], name: str) -> dict[str, Any]:
    return next((one.get("user_config", {}) for one in application["deployments"] if one["name"] == name), {})


def model_as_configured(application: dict[str, Any], level: str) -> VisionModel:
    """The model of the config's ``args`` and knobs, at ``level``, keeping nothing of the pictures it has seen."""
    settings = AppSettings.model_validate(application["args"]).model
    rows = settings.rows.model_copy(update={"prefix_store_mb": 0, "feature_store_mb": 0})
    found: dict[str, Any] = {"checkpoint": absolute(settings.checkpoint), "rows": rows}
    found["threads"] = settings.threads or os.cpu_count() or 1
    knobs = ModelKnobs.model_validate(user_config(application, "Model") | {"level": level})
    return VisionModel.load(ModelSettings.model_validate(settings.model_copy(update=found)), knobs)


def timed_ms(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1e3


def run(questions: list[Asked], level: str) -> Direct:
    (application,) = ours.shipped()["applications"]
    model = model_as_configured(application, level)
    knobs = PreprocessKnobs.model_validate(user_config(application, "Preprocessor"))

    def answer(tiles: Tiles, asked: Asked) -> None:
        model.submit(tiles.pixels, asked.text, MAX_NEW_TOKENS, places=tiles.places).result()

    def both(asked: Asked) -> tuple[float, float]:
        data = Path(asked.file).read_bytes()
        tiles = prepared(data, knobs)
        engine_ms = timed_ms(lambda: answer(tiles, asked))
        return timed_ms(lambda: answer(prepared(data, knobs), asked)), engine_ms

    for asked in questions[: len(WARM_UP)]:
        both(asked)
    times = [both(asked) for asked in questions[len(WARM_UP) :]]
    model.close()
    return Direct([whole for whole, _ in times], [engine for _, engine in times])


if __name__ == "__main__":
    told = json.load(sys.stdin)
    json.dump(asdict(run([Asked(**asked) for asked in told["questions"]], told["level"])), sys.stdout)
