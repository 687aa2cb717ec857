"""The object for a notebook: any kind of picture in, an answer out, with no Ray in sight."""

import asyncio
import subprocess
import sys
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from deployments.contract import Level, Question, Turn, Usage
from deployments.errors import QuestionEmpty
from deployments.model.deployment import Model
from deployments.model.engine import Answering, Generation
from deployments.model.gate import Gate
from deployments.model.settings import ModelKnobs, RowSettings
from deployments.model.vision_model import VisionModel, prepared
from deployments.preprocess.settings import PreprocessKnobs

PIXELS = np.random.default_rng(3).integers(0, 256, (112, 140, 3), dtype=np.uint8)


def test_path_bytes_pillow_and_array_are_the_same_picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    for image in (path, str(path), path.read_bytes(), Image.fromarray(PIXELS), PIXELS):
        assert np.array_equal(prepared(image, PreprocessKnobs()).pixels[0], PIXELS)


def test_the_level_chooses_between_beams_and_greedy(vision_model):
    full = vision_model.generate(PIXELS, "what?", max_new_tokens=8)
    assert full.token_ids == vision_model.generate(PIXELS, "what?", max_new_tokens=8, beam_width=4).token_ids
    before = vision_model.knobs
    vision_model.knobs = before.model_copy(update={"level": "fast"})
    fast = vision_model.generate(PIXELS, "what?", max_new_tokens=8)
    vision_model.knobs = before
    assert fast.token_ids == vision_model.generate(PIXELS, "what?", max_new_tokens=8, beam_width=1).token_ids


def test_no_request_gets_more_tokens_than_the_knobs_allow(checkpoint):
    model = VisionModel.from_pretrained(checkpoint, ModelKnobs(max_new_tokens=5, default_max_new_tokens=3))
    lengths = [len(model.generate(PIXELS, "what?", tokens).token_ids) for tokens in (None, 4, 500)]
    model.close()
    assert all(length <= limit for length, limit in zip(lengths, (3, 4, 5), strict=True))


def test_the_system_prompt_reaches_the_model(vision_model):
    plain = vision_model.generate(PIXELS, "what?").usage.prompt_tokens
    before = vision_model.knobs
    vision_model.knobs = before.model_copy(update={"system_prompt": "be brief"})
    prompted = vision_model.generate(PIXELS, "what?").usage.prompt_tokens
    vision_model.knobs = before
    assert prompted == plain + len("<|system|>\n") - len("<|system|>") + 1 + len("be brief")


def test_earlier_turns_reach_the_model(vision_model):
    counts = [
        vision_model.submit((PIXELS,), "what?", max_new_tokens=2, turns=turns).result().usage.prompt_tokens
        for turns in ((), (Turn("user", "hello"),), (Turn("user", "hello"), Turn("assistant", "hi")))
    ]
    assert counts[0] < counts[1] < counts[2]


class Lent(Model):
    """A deployment over the tests' own model, which is not its to close."""

    def __del__(self):
        pass


@pytest.mark.parametrize("stream", [False, True])
def test_a_question_of_control_tokens_alone_comes_back_as_an_error(vision_model, stream):
    """As a value: a caller's mistake is no failure of the deployment."""

    async def outcome():
        deployment = object.__new__(Lent)
        deployment._model, deployment._gate = vision_model, Gate(vision_model.engine, 16)
        question = Question("r", "<|user|>", None, float("inf"))
        if stream:
            return [item async for item in deployment.stream((PIXELS,), (), question)][-1]
        return await deployment.answer((PIXELS,), (), question)

    assert isinstance(asyncio.run(outcome()), QuestionEmpty)


@dataclass
class Saying:
    """An engine that says the same to everybody, a token at a time."""

    ids: list[int]
    text: str

    def submit(self, request):
        for token in self.ids:
            request.on_tokens and request.on_tokens((token,))
        future = Answering()
        usage = Usage(9, 0, len(self.ids))
        future.resolve(Generation(tuple(self.ids), self.text, Level.FAST, "stop", usage, 0.0, 1.0))
        return future

    def load(self):
        return 0, 0

    def pressure(self):
        return 0, 0.0


@pytest.mark.parametrize(
    ("said", "thinking", "answer"),
    [
        ("let me see</think>\n答案是 3 ", False, "let me see\n答案是 3"),
        ("let me see</think>\n答案是 3 ", True, "答案是 3"),
        ("<think>hm</think> 答案是 3", False, "答案是 3"),
        ("<think>hm</think> 答案是 3", True, "答案是 3"),
        (" 答案是 3\n<|user|>", True, "答案是 3"),
    ],
)
def test_what_is_streamed_is_what_is_answered(vision_model, tokenizer, said, thinking, answer):
    model = copy(vision_model)
    ids = tokenizer(said, add_special_tokens=False)["input_ids"]
    model.engine = Saying(ids, tokenizer.decode(ids, skip_special_tokens=True))
    model.knobs = vision_model.knobs.model_copy(update={"enable_thinking": thinking})

    async def told():
        deployment, question = object.__new__(Lent), Question("r", "?", None, float("inf"))
        deployment._model, deployment._gate = model, Gate(model.engine, 16)
        pieces = [item async for item in deployment.stream((PIXELS,), (), question)]
        return pieces, await deployment.answer((PIXELS,), (), question)

    (*pieces, last), whole = asyncio.run(told())
    assert "".join(pieces) == last.text == whole.text == answer
    assert thinking or len(pieces) > 3


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model, "loaded", replace(model.loaded, eos_token_ids=(1,))),
        lambda model: setattr(model, "loaded", replace(model.loaded, layout=replace(model.loaded.layout, mean=(0, 0, 0)))),
        lambda model: setattr(model, "settings", model.settings.model_copy(update={"engine": "reference"})),
        lambda model: setattr(model, "settings", model.settings.model_copy(update={"rows": RowSettings(length=99)})),
        lambda model: setattr(model, "settings", model.settings.model_copy(update={"rows": RowSettings(rows=3)})),
        lambda model: setattr(model, "knobs", model.knobs.model_copy(update={"early_stopping": "never"})),
        lambda model: setattr(model, "knobs", model.knobs.model_copy(update={"enable_thinking": True})),
    ],
    ids=["end tokens", "how pictures are normalised", "engine", "length", "rows", "search", "prompt"],
)  # fmt: skip
def test_what_changes_answers_changes_what_they_are_kept_under(vision_model, change):
    changed = copy(vision_model)
    change(changed)
    assert changed.serving(changed.knobs) != vision_model.serving(vision_model.knobs)


def test_info_names_the_level_of_the_moment(vision_model):
    before = vision_model.knobs
    assert vision_model.info().level == "full"
    vision_model.knobs = before.model_copy(update={"level": "fast"})
    changed = vision_model.info().level
    vision_model.knobs = before
    assert changed == "fast"


@pytest.mark.parametrize(
    "module",
    [
        "deployments.ingress.http.app",
        "deployments.ingress.deployment",
        "deployments.preprocess.deployment",
        "serve_app.graph",
    ],
)
def test_neither_ingress_preprocessor_nor_graph_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_notebook_object_does_not_import_ray():
    code = "import sys, deployments.model.vision_model; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_large_picture_is_shown_with_its_tiles(vision_model):
    picture = np.random.default_rng(4).integers(0, 256, (448, 560, 3), dtype=np.uint8)
    tiled = PreprocessKnobs(longest_edge=112, tile_edge=112, max_tiles=4, tiles_above_edge=200)
    whole = tiled.model_copy(update={"max_tiles": 0})
    tokens = [vision_model.generate(picture, "what?", 2, preprocess=k).usage.image_tokens for k in (whole, tiled)]
    assert tokens[1] == 5 * tokens[0]
