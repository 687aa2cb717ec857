"""Training: what a batch looks like to the model, and that a killed training goes on as if it had not been killed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from demo import scene
from demo.checkpoint import build_image_processor, build_model, build_tokenizer
from demo.families import FAMILIES, SIZES
from demo.lessons import IGNORED, SUBCOLUMNS, Lesson, Writer, attention_mask
from demo.pictures import rng_of
from demo.reader import Reader
from demo.train import curriculum, layout_of, learning_rate, lessons_of, stage_at
from deployments.model.pixels import patchify
from deployments.model.prompt import PromptWriter

pytestmark = pytest.mark.usefixtures("demo_fonts")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def writer():
    return Writer(build_tokenizer(), layout_of(build_image_processor()))


def lesson_about(name, seed, desk=None, questions=2):
    family, rng = FAMILIES[name], rng_of(name, seed)
    picture = scene.draw(rng, family, desk) if desk else family.draw(rng, SIZES[0])
    return Lesson.about(picture, family.questions(picture, rng, questions, 0.15), scene.BUDGET)


@pytest.mark.parametrize("desk", [None, scene.DESKS[2]], ids=["plain", "overview and tiles"])
def test_each_question_looks_to_the_model_as_it_does_alone(writer, desk):
    """Packed beside other questions or alone, by the service's own prompt: the same logits for its answer."""
    lesson = lesson_about("order", 3, desk)
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
        for number, question in enumerate(lesson.questions, start=1):
            counts = [part.shape[0] * part.shape[1] // 784 for part in lesson.pixels]
            places = tuple(part.place for part in lesson.parts)
            prompt = PromptWriter(writer.tokenizer, image_token_id).write(question.text, counts, places)
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


@pytest.mark.parametrize("desk", [None, scene.DESKS[2]], ids=["one size", "two sizes"])
def test_the_fast_reader_computes_what_the_untouched_model_does(writer, desk):
    batch = writer.batch([lesson_about("waybill", 3, desk), lesson_about("board", 4, desk)])
    torch.manual_seed(0)
    plain = build_model(writer.tokenizer).eval()
    fast = build_model(writer.tokenizer).eval()
    fast.load_state_dict(plain.state_dict())
    reader = Reader(fast, writer.layout, compiled=False)
    with torch.inference_mode():
        features = torch.cat(plain.model.get_image_features(*patchify(batch.pixels, writer.layout)).pooler_output)
        assert torch.allclose(reader._features(batch), features, atol=1e-5)
        losses = reader(batch)
    assert losses["text"] == pytest.approx(6, abs=2)  # the log of the vocabulary, before any training
    assert losses["pointer"] == pytest.approx(8, abs=3)  # the log of the quarter columns
    trained = {"cells", "text", "pointer"}
    shares = {"cell_accuracy", "text_accuracy", "pointer_accuracy", "exact_waybill", "exact_board"}
    assert set(losses) == trained | shares


def test_cells_name_the_characters_whose_centres_they_hold(writer):
    lesson = lesson_about("document", 3)
    cells = writer.batch([lesson]).cells
    named = [writer.tokenizer.convert_ids_to_tokens(int(i)) for i in cells.flatten() if i > 0]
    assert len(named) >= 0.9 * len(lesson.picture.glyphs)
    assert set(named) <= {glyph.character for glyph in lesson.picture.glyphs}


def test_tiles_name_what_they_show_and_an_overview_too_small_to_read_names_nothing(writer):
    lesson = lesson_about("order", 3, scene.DESKS[0])
    cells = writer.batch([lesson]).cells
    overview = (lesson.pixels[0].shape[0] // 28) * (lesson.pixels[0].shape[1] // 28)
    assert (cells[:overview] == IGNORED).all()
    named = [writer.tokenizer.convert_ids_to_tokens(int(i)) for i in cells[overview:].flatten() if i > 0]
    assert len(named) >= 0.9 * len(lesson.picture.glyphs)  # those in an overlap are named twice
    assert cells.shape[1] == SUBCOLUMNS


@pytest.mark.parametrize("desk", [None, scene.DESKS[0]], ids=["plain", "overview and tiles"])
def test_pointers_lead_to_the_character_that_is_answered(writer, desk):
    lesson = lesson_about("waybill", 3, desk, questions=4)
    batch = writer.batch([lesson])
    image = writer.tokenizer.convert_tokens_to_ids("<|image|>")
    visual = {place: number for number, place in enumerate((batch.input_ids[0] == image).nonzero().flatten().tolist())}
    right, known = 0, batch.pointers[0] != IGNORED
    assert known.sum() > 0.6 * (batch.labels[0] != IGNORED).sum()
    for label, pointer in zip(batch.labels[0][known].tolist(), batch.pointers[0][known].tolist(), strict=True):
        right += int(batch.cells[visual[pointer // SUBCOLUMNS], pointer % SUBCOLUMNS] == label)
    assert right >= 0.97 * known.sum()  # two narrow characters can share a quarter column


def test_padding_sees_itself_only_and_is_seen_by_nobody(writer):
    lessons = [lesson_about("order", 3, questions=4), lesson_about("order", 3, questions=0)]
    segments = writer.batch(lessons).segments
    mask, padding = attention_mask(segments)[1, 0], segments[1] == -1
    assert padding.any()
    assert not mask[~padding][:, padding].any()
    assert np.array_equal(mask[padding][:, padding], torch.eye(int(padding.sum()), dtype=torch.bool))


def test_the_curriculum_covers_every_step_and_the_rate_rises_stays_and_falls():
    stages = curriculum(6_000)
    assert sum(stage.steps for stage in stages) == 6_000
    kinds = ["primer", "one line", "whole", "whole and large"]
    assert [stage_at(stages, step).kind for step in (0, 1_020, 1_380, 5_999)] == kinds
    rates = [learning_rate(step, 6_000, 1.0) for step in (0, 50, 3_600, 4_800, 6_000)]
    assert rates[0] < 0.03
    assert rates[1:3] == [1.0, 1.0]
    assert rates[3] == pytest.approx(0.5, abs=0.01)
    assert rates[4] == pytest.approx(0.01)


def test_every_family_is_in_every_batch_and_large_pictures_are_in_the_last_stage():
    stages = curriculum(6_000)
    whole, large = (lessons_of(step, stage_at(stages, step), "甲") for step in (1_400, 3_605))
    assert [len(lessons) for lessons in (whole, large)] == [16, 4]
    for lessons in (whole, large):
        assert {lesson.picture.family for lesson in lessons} == set(FAMILIES)
        assert len({lesson.picture.pixels.shape for lesson in lessons}) == 1
    assert all(len(lesson.parts) > 2 for lesson in large)


def run_training(work, killed_at, steps, *more):
    """Train in a process of its own; ``killed_at`` is where it is killed, by an interpreter exit after saving."""
    code = (
        "import demo.train as t, os, sys\n"
        "t.LOG_EVERY, t.SAVE_EVERY, t.BATCH = 1, 2, 4\n"
        "t.curriculum = lambda steps, continued=False: (t.Stage('one line', steps),)\n"
        "save = t.Journal.save\n"
        f"def dying(self, step, *rest):\n    save(self, step, *rest)\n    step == {killed_at} and os._exit(9)\n"
        "t.Journal.save = dying\n"
        f"sys.argv = ['train', '--steps', '{steps}', '--threads', '1', '--no-compile', '--work', r'{work}', '--out', r'{work}/out', *{more!r}]\n"
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
    for folder, killed_at, exit_code in ((whole, None, 0), (broken, 2, 9), (broken, None, 0)):
        ended, log = run_training(folder, killed_at, 4)
        assert ended == exit_code, log
    curves = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (whole, broken)
    ]
    assert [(entry["step"], entry["pictures"]) for entry in curves[0]] == [(1, 4), (2, 8), (3, 12), (4, 16)]
    assert all(f"exact_{name}" in curves[0][0] for name in FAMILIES)
    assert curves[0] == curves[1]
    assert (broken / "out" / "model.safetensors").exists()


def test_a_finished_training_is_continued_on_new_pictures_with_its_log(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run_training(first, None, 2)[0] == 0
    ended, log = run_training(second, None, 2, "--start", str(first / "out"), "--rate", "0", "--muon-rate", "0")
    assert ended == 0, log
    entries = [json.loads(line) for line in (second / "out" / "training.jsonl").read_text().splitlines()]
    assert [(entry["step"], entry["pictures"]) for entry in entries] == [(1, 4), (2, 8), (3, 12), (4, 16)]
    assert entries[2]["cells"] != entries[0]["cells"]
    weights = [(folder / "out" / "model.safetensors").read_bytes() for folder in (first, second)]
    assert weights[0] == weights[1]  # nothing learnt at rate 0: what it started from
