"""The demo's pictures: reproducible, split between training and evaluation, and saying what they know to say."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo import fields, fonts, primer, scene
from demo.checkpoint import alphabet, build_tokenizer
from demo.families import FAMILIES, SIZES, board, document, order
from demo.lessons import Lesson
from demo.pictures import Picture, is_held_out, rng_of, seeds
from deployments.contract import OVERVIEW

pytestmark = pytest.mark.usefixtures("demo_fonts")

every_family = pytest.mark.parametrize("name", FAMILIES)


def drawn(name, seed, **more):
    rng = rng_of(name, seed)
    return FAMILIES[name].draw(rng, rng.choice(SIZES), **more), rng


@every_family
def test_a_seed_gives_one_picture_and_its_questions(name):
    (one, first), (two, second) = drawn(name, 5), drawn(name, 5)
    assert np.array_equal(one.pixels, two.pixels)
    assert FAMILIES[name].questions(one, first, 4, 0.2) == FAMILIES[name].questions(two, second, 4, 0.2)
    other = drawn(name, 6)[0]
    assert one.pixels.shape != other.pixels.shape or not np.array_equal(one.pixels, other.pixels)


@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 10**12))
def test_a_seed_is_on_one_side_of_the_split(name, seed):
    side = is_held_out(name, seed)
    assert next(seeds(name, seed, held_out=side)) == seed
    assert next(seeds(name, seed, held_out=not side)) != seed


def test_a_tenth_is_held_out():
    share = sum(is_held_out("order", seed) for seed in range(10_000)) / 10_000
    assert 0.08 < share < 0.12


@every_family
@pytest.mark.parametrize("seed", range(30))
def test_every_answer_stands_in_the_picture_or_says_that_it_does_not(name, seed):
    picture, rng = drawn(name, seed)
    text = "\n".join(picture.lines)
    spoken = {order.reason(picture)} if name == "order" else {board.which(picture)} if name == "board" else set()
    spoken |= {document.parties(picture)} if {"party_a", "party_b"} <= picture.values.keys() else set()
    spoken |= {*board.DEFECTS, board.NO_DEFECT, board.YES, board.NO, *map(board.PLACES.format, (1, 2, 3))}
    for question in FAMILIES[name].questions(picture, rng, 8, 0.3):
        if question.kind == "absent":
            assert question.answer.startswith("图中没有")
        elif question.kind == "transcription":
            assert question.answer == text
        else:
            assert question.answer in text or question.answer in spoken


@every_family
@pytest.mark.parametrize("seed", range(30))
def test_glyphs_lie_inside_the_picture_and_spell_its_text(name, seed):
    picture, _ = drawn(name, seed)
    height, width = picture.pixels.shape[:2]
    assert height % 28 == width % 28 == 0
    assert all(0 <= glyph.x < width and 0 <= glyph.y < height for glyph in picture.glyphs)
    visible = "".join(picture.lines).replace(" ", "").replace("\n", "")
    marks = "".join(glyph.character for glyph in picture.glyphs)
    # A phone's status bar is drawn from both ends, a board's joints are marked after its text.
    assert sorted(marks) == sorted(visible) if name == "order" else marks.startswith(visible)


@every_family
def test_the_font_never_trained_on_is_never_drawn_in_training(name, monkeypatch):
    used = set()
    load = fonts.load
    monkeypatch.setattr(fonts, "load", lambda face, size: used.add(face) or load(face, size))
    for seed in range(60):
        drawn(name, seed)
    assert fonts.UNSEEN not in used
    assert used <= {*fonts.TRAINED, fonts.HANDWRITING}
    drawn(name, 1, faces=(fonts.UNSEEN,))
    assert fonts.UNSEEN in used


def test_orders_say_why_they_have_not_been_sent():
    def about(**values):
        return order.reason(Picture("order", np.zeros((28, 28, 3), np.uint8), (), (), values))

    assert about(status="地址不完整") == "收货地址不完整"
    assert about(status="支付失败", error_code="E1234") == "支付失败，错误码E1234"
    assert about(status="运输中", error_code="E1234") == "已经发货了"
    assert about() == "图中没有状态"


def test_boards_name_row_column_and_kind_of_every_defect():
    values = {"2,3": "桥接", "4,1": "虚焊", "grid": "5x6"}
    picture = Picture("board", np.zeros((28, 28, 3), np.uint8), (), (), values)
    assert board.which(picture) == "第2行第3列桥接，第4行第1列虚焊"
    kinds = {kind for seed in range(200) for kind in board.defects_of(drawn("board", seed)[0]).values()}
    assert kinds == set(board.DEFECTS)


def test_a_bridge_never_leads_off_the_board_or_into_another_defect():
    for seed in range(200):
        picture = drawn("board", seed)[0]
        found, columns = board.defects_of(picture), int(picture.values["grid"].split("x")[1])
        for (row, column), kind in found.items():
            assert kind != board.BRIDGED or (column < columns and (row, column + 1) not in found)


def test_a_document_s_total_is_the_sum_of_its_amounts():
    tables = [picture for seed in range(80) if "total" in (picture := drawn("document", seed)[0]).values]
    assert len(tables) > 20
    for picture in tables:
        amounts = [float(value) for key, value in picture.values.items() if key.endswith("/金额")]
        assert float(picture.values["total"]) == pytest.approx(sum(amounts))


@every_family
def test_the_tokenizer_says_every_text_that_training_needs(name):
    tokenizer = build_tokenizer()
    for seed in range(60):
        picture, rng = drawn(name, seed)
        questions = FAMILIES[name].questions(picture, rng, 4, 0.3)
        for text in [*picture.lines, *(q.text for q in questions), *(q.answer for q in questions)]:
            ids = tokenizer(text)["input_ids"]
            assert tokenizer.unk_token_id not in ids, text
            assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in tokenizer.convert_tokens_to_ids([g.character for g in picture.glyphs])


def test_what_it_does_not_know_is_unknown_and_no_error():
    tokenizer = build_tokenizer()
    assert tokenizer("龘")["input_ids"] == [tokenizer.unk_token_id]


def test_a_primer_page_is_full_of_known_characters():
    page = primer.draw(rng_of("primer", 1), SIZES[0], "甲乙丙")
    assert len(page.glyphs) > 60
    assert {glyph.character for glyph in page.glyphs} <= set("甲乙丙0123456789")
    assert set(alphabet()) >= set("0123456789")


def test_a_large_picture_lies_on_a_desk_and_is_magnified():
    name, desk = "waybill", scene.DESKS[0]
    small, large = (scene.draw(rng_of(name, 3), FAMILIES[name], desk, magnified=m) for m in (1, 3))
    assert small.pixels.shape[:2] == desk[::-1]
    assert large.pixels.shape[:2] == (desk[1] * 3, desk[0] * 3)
    assert max(large.pixels.shape) >= 3000
    assert large.lines == small.lines
    assert [(g.x * 3, g.y * 3) for g in small.glyphs] == [(g.x, g.y) for g in large.glyphs]


@pytest.mark.parametrize("desk", scene.DESKS)
def test_a_large_picture_is_a_lesson_of_an_overview_and_tiles(desk):
    picture = scene.draw(rng_of("order", 3), FAMILIES["order"], desk)
    lesson = Lesson.about(picture, (), scene.BUDGET)
    assert lesson.parts[0].place == OVERVIEW
    assert 2 <= len(lesson.parts) - 1 <= scene.BUDGET.max_tiles


def test_evaluation_takes_held_out_seeds_only():
    assert all(is_held_out("board", number) for number in islice(seeds("board", 1, held_out=True), 100))


def test_a_question_in_english_is_answered_in_the_picture_s_words():
    picture, rng = drawn("waybill", 4)
    number = next(item for item in order.FIELDS if item.key == "waybill_number")
    asked = {fields.question((number,), picture, rng, 0.0).text for _ in range(80)}
    assert "What is the waybill number?" in asked
