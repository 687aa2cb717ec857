"""The demo's pictures: reproducible, split between training and evaluation, and drawn where they say."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo import orders, primer
from demo.checkpoint import alphabet, build_tokenizer
from demo.evaluate import edits, held_out, interval
from demo.pictures import is_held_out, rng_of, seeds
from demo.train import TRAINED_FACES, curriculum, learning_rate, stage_at

pytestmark = pytest.mark.usefixtures("demo_fonts")


def drawn(seed):
    rng = rng_of(orders.FAMILY, seed)
    return orders.draw(rng), rng


def test_a_seed_gives_one_picture_and_its_questions():
    (one, first), (two, second) = drawn(5), drawn(5)
    assert np.array_equal(one.pixels, two.pixels)
    assert orders.field_question(one, first) == orders.field_question(two, second)
    assert not np.array_equal(one.pixels, drawn(6)[0].pixels)


@given(st.integers(0, 10**12))
def test_a_seed_is_on_one_side_of_the_split(seed):
    side = is_held_out(orders.FAMILY, seed)
    assert next(seeds(orders.FAMILY, seed, held_out=side)) == seed
    assert next(seeds(orders.FAMILY, seed, held_out=not side)) != seed


def test_a_tenth_is_held_out():
    share = sum(is_held_out(orders.FAMILY, seed) for seed in range(10_000)) / 10_000
    assert 0.08 < share < 0.12


@pytest.mark.parametrize("seed", range(40))
def test_every_answer_stands_in_the_picture_or_says_that_it_does_not(seed):
    picture, rng = drawn(seed)
    text = "\n".join(picture.lines)
    for _ in range(6):
        question = orders.field_question(picture, rng, absent_share=0.3)
        if question.kind == "absent":
            assert question.answer.startswith("图中没有")
            assert question.answer.removeprefix("图中没有") not in {
                line.split("：")[0].split(" ")[0] for line in picture.lines
            }
        else:
            assert question.answer in text
    assert orders.transcription(picture, rng).answer == text


@pytest.mark.parametrize("seed", range(40))
def test_glyphs_are_all_characters_and_lie_inside_the_picture(seed):
    picture, _ = drawn(seed)
    height, width = picture.pixels.shape[:2]
    assert height % 28 == width % 28 == 0
    assert all(0 <= glyph.x < width and 0 <= glyph.y < height for glyph in picture.glyphs)
    visible = "".join(picture.lines).replace(" ", "")
    assert "".join(glyph.character for glyph in picture.glyphs) == visible


def test_the_tokenizer_says_every_text_that_training_needs():
    tokenizer = build_tokenizer()
    for picture, questions in held_out(50, seed=1):
        for text in [*picture.lines, *(q.text for q in questions), *(q.answer for q in questions)]:
            ids = tokenizer(text)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text


def test_what_it_does_not_know_is_unknown_and_no_error():
    tokenizer = build_tokenizer()
    assert tokenizer("龘")["input_ids"] == [tokenizer.unk_token_id]


def test_a_primer_page_is_full_of_known_characters():
    page = primer.draw(rng_of("primer", 1), "甲乙丙", TRAINED_FACES)
    assert len(page.glyphs) > 60
    assert {glyph.character for glyph in page.glyphs} <= set("甲乙丙0123456789")
    assert set(alphabet()) >= set("0123456789")


def test_evaluation_takes_held_out_seeds_only():
    numbers = list(islice(seeds(orders.FAMILY, 1, held_out=True), 100))
    assert all(is_held_out(orders.FAMILY, number) for number in numbers)
    assert len(list(held_out(3, 1))) == 3


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


def test_the_curriculum_covers_every_picture_and_the_rate_rises_stays_and_falls():
    stages = curriculum(50_000)
    assert sum(stage.pictures for stage in stages) == 50_000
    assert [stage_at(stages, n).name for n in (0, 14_400, 49_999)] == ["primer", "one line", "orders"]
    rates = [learning_rate(n, 50_000, 1.0) for n in (0, 800, 29_999, 40_000, 50_000)]
    assert rates[0] < 0.01
    assert rates[1:3] == [1.0, 1.0]
    assert rates[3] == pytest.approx(0.5, abs=0.01)
    assert rates[4] == pytest.approx(0.01)
