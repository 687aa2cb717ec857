"""Training: what a batch looks like to the model, and that a killed training goes on as if it had not been killed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from demo import lessons, orders
from demo.checkpoint import build_image_processor, build_model, build_tokenizer
from demo.lessons import IGNORED, Writer, attention_mask
from demo.pictures import rng_of
from demo.train import layout_of
from deployments.model.pixels import patchify
from deployments.model.prompt import PromptWriter

pytestmark = pytest.mark.usefixtures("demo_fonts")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def writer():
    return Writer(build_tokenizer(), layout_of(build_image_processor()))


@pytest.fixture(scope="module")
def lesson():
    rng = rng_of(orders.FAMILY, 3)
    picture = orders.draw(rng)
    return picture, lessons.questions_for(picture, rng, 2)


def test_each_question_looks_to_the_model_as_it_does_alone(writer, lesson):
    """Packed beside other questions or alone, by the service's own prompt: the same logits for its answer."""
    _picture, questions = lesson
    torch.manual_seed(0)
    model = build_model(writer.tokenizer).eval()
    packed = writer.batch([lesson])
    values, grid = patchify(packed.pixels, writer.layout)
    image_token_id = model.config.image_token_id
    with torch.inference_mode():
        features = torch.cat(model.model.get_image_features(values, grid).pooler_output)
        embeddings = model.get_input_embeddings()(packed.input_ids)
        embeddings = embeddings.masked_scatter((packed.input_ids == image_token_id)[..., None], features)
        hidden = model.model.language_model(
            inputs_embeds=embeddings, position_ids=packed.positions, attention_mask=attention_mask(packed.segments)
        ).last_hidden_state
        for number, question in enumerate(questions, start=1):
            prompt = PromptWriter(writer.tokenizer, image_token_id).write(question.text, [len(features)])
            answer = torch.tensor([writer.tokenizer(question.answer)["input_ids"]])
            ids = torch.cat([prompt.input_ids, answer], 1)
            alone = model(
                input_ids=ids,
                pixel_values=values,
                image_grid_thw=grid,
                mm_token_type_ids=(ids == image_token_id).long(),
            ).logits[0, prompt.tokens - 1 : -1]
            segment = packed.segments[0] == number
            predicts = torch.roll(packed.labels[0] != IGNORED, -1) & segment
            together = model.lm_head(hidden[0, predicts])[: len(answer[0])]
            assert torch.allclose(together, alone, atol=1e-4)


def test_cells_name_the_characters_whose_centres_they_hold(writer, lesson):
    picture, _ = lesson
    cells = writer.batch([lesson]).cells
    named = [writer.tokenizer.convert_ids_to_tokens(int(i)) for i in cells.flatten() if i]
    assert len(named) >= 0.95 * len(picture.glyphs)
    assert set(named) <= {glyph.character for glyph in picture.glyphs}


def test_padding_sees_itself_only_and_is_seen_by_nobody(writer, lesson):
    short = (lesson[0], lesson[1][:1])
    mask = attention_mask(writer.batch([lesson, short]).segments)[1, 0]
    padding = writer.batch([lesson, short]).segments[1] == -1
    assert padding.any()
    assert not mask[~padding][:, padding].any()
    assert np.array_equal(mask[padding][:, padding], torch.eye(int(padding.sum()), dtype=torch.bool))


def run_training(work, pictures, total):
    """Train in a process of its own; ``pictures`` is where it is killed, by an interpreter exit after saving."""
    code = (
        "import demo.train as t, os, sys\n"
        "t.LOG_EVERY, t.SAVE_EVERY = 4, 8\n"
        "t.curriculum = lambda total: (t.Stage('one line', total, (1, 1)),)\n"
        "save = t.Journal.save\n"
        f"def dying(self, pictures, *rest):\n    save(self, pictures, *rest)\n    pictures == {pictures} and os._exit(9)\n"
        "t.Journal.save = dying\n"
        f"sys.argv = ['train', '--pictures', '{total}', '--batch', '4', '--threads', '1', '--work', r'{work}', '--out', r'{work}/out']\n"
        "if __name__ == '__main__': t.main()\n"
    )
    script = work / "run.py"
    work.mkdir(exist_ok=True)
    script.write_text(code)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    log = work / "training.log"  # a file: a pipe would stay open until the killed trainer's child has noticed
    with log.open("w") as out:
        ended = subprocess.run(
            [sys.executable, script], env=environment, check=False, stdout=out, stderr=out, timeout=300
        )
    return ended.returncode, log.read_text()


def test_training_killed_and_resumed_has_the_curve_of_training_in_one_go(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder, killed_at, exit_code in ((whole, None, 0), (broken, 8, 9), (broken, None, 0)):
        ended, log = run_training(folder, killed_at, 16)
        assert ended == exit_code, log
    curves = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (whole, broken)
    ]
    assert [entry["pictures"] for entry in curves[0]] == [4, 8, 12, 16]
    assert curves[0] == curves[1]
    assert (broken / "out" / "model.safetensors").exists()
