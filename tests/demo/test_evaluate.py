"""The evaluation: what it asks, that training cannot have seen it, and how it counts."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from demo import fonts
from demo.evaluate import MAGNIFIED, OVERVIEW, SHUFFLED, TILES, UNSEEN, Case, cases, outcomes
from demo.families import FAMILIES, SIZES
from demo.pictures import is_held_out
from demo.report import compared
from demo.scores import MAIN, Outcome, Report, edits, interval, markdown
from demo.train import BATCH, training_seed

pytestmark = pytest.mark.usefixtures("demo_fonts")

CONDITIONS = (MAIN, UNSEEN, TILES, OVERVIEW, SHUFFLED)


def perfect(picture, questions, _budget):
    return ["\n".join(picture.lines) if "文字" in text or "写了" in text else "?" for text in questions]


@pytest.mark.parametrize("name", FAMILIES)
def test_no_picture_of_the_evaluation_can_occur_in_training(name):
    """Training's seeds are never held out, whatever its length; evaluation's always are, wherever it starts."""
    trained = {training_seed(name, number) for number in range(6_000 * BATCH)}
    assert not any(is_held_out(name, seed) for seed in trained)
    asked = {case.seed for start in (1, 50_000, 10**9) for case in cases([name], 500, 20, start, CONDITIONS)}
    assert all(is_held_out(name, seed) for seed in asked)
    assert not trained & asked


def test_main_figures_and_those_beside_have_their_numbers_of_pictures():
    todo = cases(list(FAMILIES), 7, 2, 1, CONDITIONS)
    assert len(todo) == 4 * (7 + 4 * 2)
    assert [case.family for case in todo[:7]] == ["order"] * 7


def test_conditions_change_font_and_size_and_nothing_about_the_split():
    main, unseen, large = (Case(condition, "order", 1).lesson()[0] for condition in (MAIN, UNSEEN, TILES))
    assert main.pixels.shape[1::-1] in SIZES
    assert unseen.pixels.shape == main.pixels.shape
    assert not np.array_equal(unseen.pixels, main.pixels)
    assert max(large.pixels.shape) >= 3000
    assert max(large.pixels.shape) % MAGNIFIED == 0
    assert fonts.UNSEEN not in fonts.TRAINED


def test_the_overview_alone_is_the_same_picture_without_tiles():
    tiles, overview = Case(TILES, "order", 1), Case(OVERVIEW, "order", 1)
    assert np.array_equal(tiles.lesson()[0].pixels, overview.lesson()[0].pixels)
    assert (tiles.budget().max_tiles, overview.budget().max_tiles) == (4, 0)


def test_a_perfect_reader_is_exactly_right_and_a_shuffled_one_is_not():
    def texts(condition):
        return [o.exact for o in outcomes(Case(condition, "order", 11), perfect) if o.kind == "transcription"]

    assert texts(MAIN) == [True]
    assert texts(SHUFFLED) == [False]


def outcome(family="order", kind="status", condition=MAIN, expected="a", answer="a", damage="none"):
    rate = edits(answer, expected) / len(expected)
    return Outcome(condition, family, kind, "easy", damage, "?", expected, answer, rate)


def test_scores_by_family_kind_damage_and_condition():
    answered = [
        outcome(),
        outcome(answer="b"),
        outcome("waybill", damage="blur"),
        outcome("waybill", condition=UNSEEN, answer="b"),
    ]
    report = Report.of(answered, pictures=1, decoding="greedy", precision="bfloat16")
    assert report.as_json()["exact_match"] == {"order": 0.5, "waybill": 1.0}
    assert report.kinds["order/status"].character_error_rate == 0.5
    assert report.damages["waybill/blur"].asked == 1
    assert report.conditions["unseen font/waybill"].exact_match == 0
    assert Report.from_json(report.as_json()) == report
    assert "| order | 2 | 50.0% |" in markdown(report)
    assert "greedy, bfloat16" in compared([report])


def test_chance_is_the_most_frequent_answer_of_a_kind():
    answered = [outcome(expected=letter, answer="x") for letter in "aaab"]
    assert Report.of(answered).most_frequent_answer == {"order": 0.75}


@pytest.mark.parametrize(
    ("one", "other", "distance"), [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("12", "21", 2)]
)
def test_edit_distance(one, other, distance):
    assert edits(one, other) == edits(other, one) == distance


def test_wilson_s_interval():
    low, high = interval(80, 100)
    assert (round(low, 3), round(high, 3)) == (0.711, 0.867)  # Wilson 1927, as statsmodels gives it
    assert interval(0, 10)[0] == 0
    assert interval(10, 10)[1] == pytest.approx(1)


def test_the_committed_checkpoint_reads_every_family(tmp_path):
    """The program itself, on a few pictures: the figures of the model card come from many more."""
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "demo.evaluate", "--pictures", "4", "--beside", "1", "--dtype", "float32"]
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([*command, "--json", out], cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    result = json.loads(out.read_text())
    assert set(result["exact_match"]) == set(FAMILIES)
    assert min(result["exact_match"].values()) > 0.7  # 16 questions each
    assert "| order | 16 |" in run.stdout
    assert {name.rsplit("/", 1)[0] for name in result["conditions"]} == {UNSEEN, TILES, OVERVIEW, SHUFFLED}
