"""What a config that serves it is told, and what its model and its preprocessor say to each other."""

import asyncio
import math
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from ray import serve

from deployments.contract import ANY_SIZE, Level, PreprocessInfo, Question, View
from deployments.errors import TooManyImages, Unavailable
from deployments.ingress.deployment import unseen_tiles
from deployments.ingress.limits import limits
from deployments.model.deployment import Model
from deployments.model.settings import ModelSettings
from deployments.model.vision_model import VisionModel, prepared
from deployments.preprocess.deployment import Preprocessor
from deployments.preprocess.safety.settings import SafetySettings
from deployments.preprocess.settings import PreprocessKnobs, PreprocessSettings
from serve_app.check.linter import check

from .asking import picture

CONFIG = (Path(__file__).resolve().parents[4] / "serve_config.yaml").read_text()
KNOBS = PreprocessKnobs(longest_edge=504, tile_edge=504, tiles_above_edge=700)


def config_for(folder, **changes):
    text = CONFIG.replace("./demo/checkpoint", str(folder))
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_config_that_asks_for_tiles_is_told(folder):
    [problem] = check(config_for(folder))
    assert problem.warning
    assert problem.path.endswith("user_config.max_tiles")
    assert "one picture a conversation" in problem.message
    assert check(config_for(folder, tiles=("max_tiles: 4", "max_tiles: 0"))) == []


def test_a_row_longer_than_its_positions_is_told(folder):
    text = config_for(folder, tiles=("max_tiles: 4", "max_tiles: 0"), length=("length: 2048", "length: 16384"))
    assert any("knows 8192 positions" in problem.message for problem in check(text))


def test_at_start_the_log_says_that_tiles_are_not_shown(model):
    taken = PreprocessInfo(("PNG",), 10**6, 324, most_parts=5)
    told = unseen_tiles(model.info(), taken)
    assert told is not None
    assert "max_tiles has no effect" in told
    assert unseen_tiles(model.info(), PreprocessInfo(("PNG",), 10**6, 324, most_parts=1)) is None


def test_the_model_says_what_it_wants_to_see(model):
    assert model.info().view == View(side=112, tokens=18, tiles=False)
    assert model.info().part_tokens == 0


@pytest.mark.parametrize("size", [(900, 1500), (40, 40), (112, 112), (600, 30)])
def test_a_picture_of_any_shape_is_shown_whole_at_the_one_size(model, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    tiles = prepared(pixels, KNOBS, model.loaded.layout.view)
    assert tiles.sizes == ((112, 112),)
    assert tiles.boxes == ((0, 0, size[1], size[0]),)
    answer = model.generate(pixels, "what?", max_new_tokens=3, preprocess=KNOBS)
    assert answer.usage.image_tokens == 18


def test_the_one_size_is_plain_bicubic():
    """Of a picture that is only little larger, where nothing is averaged first."""
    pixels = np.random.default_rng(1).integers(0, 256, (150, 250, 3), dtype=np.uint8)
    shown = prepared(pixels, KNOBS, View(side=112, tokens=18, tiles=False)).pixels[0]
    plain = Image.fromarray(pixels).resize((112, 112), Image.Resampling.BICUBIC)
    assert np.array_equal(shown, np.asarray(plain))


def test_the_preprocessor_prepares_for_each_model_as_it_is_told():
    pixels = np.random.default_rng(2).integers(0, 256, (900, 1500, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    preprocessor = Preprocessor(PreprocessSettings(safety=SafetySettings(blocklist=None, cards=None)))
    preprocessor.reconfigure(KNOBS.model_dump())

    async def both():
        return [
            await preprocessor.prepare(file.getvalue(), Level.FULL, view=view)
            for view in (View(side=112, tokens=18, tiles=False), ANY_SIZE)
        ]

    fixed, any_size = asyncio.run(both())
    assert fixed.sizes == ((112, 112),)
    assert len(any_size.sizes) > 2
    assert fixed.picture != any_size.picture  # neither is found under the other's answers


def test_several_pictures_are_refused_and_one_of_another_size_is_no_answer(model):
    with pytest.raises(TooManyImages):
        model.submit((picture(0), picture(1)), "what?", places=((0, 0), (1, 1)))
    with pytest.raises(ValueError, match="prepared for another model"):
        model.submit((picture(0, side=140),), "what?")


def test_questions_may_be_as_long_as_what_its_picture_leaves(model):
    info = model.info()
    taken = PreprocessInfo(("PNG",), 10**6, overview_tokens=324, most_parts=5)
    longest = limits(10_000, info, taken).question_chars
    assert longest == (info.prompt_tokens - 18) // info.tokens_per_char


def test_checkpoint_is_all_that_has_to_be_set(folder):
    model = VisionModel.from_pretrained(folder)
    model.warm_up()
    assert model.generate(picture(3), "图片是什么？").usage.image_tokens == 18
    model.close()


def test_a_picture_that_was_prepared_for_another_model_is_asked_again(folder, monkeypatch):
    monkeypatch.setattr(serve, "get_replica_context", lambda: SimpleNamespace(replica_tag="here"))
    replica = Model(ModelSettings(checkpoint=str(folder)))
    replica.reconfigure({"max_new_tokens": 4, "default_max_new_tokens": 4})

    def answer(view):
        question = Question("id", "what?", None, math.inf, view=view)
        return asyncio.run(replica.answer((picture(1),), ((0, 0),), question))

    assert isinstance(answer(ANY_SIZE), Unavailable)
    assert answer(View(side=112, tokens=18, tiles=False)).usage.image_tokens == 18
