"""Where an answer is read: the target of the pointer."""

import pytest

from demo.families import FAMILIES, SIZES
from demo.pictures import Question, rng_of
from demo.reading import sources

pytestmark = pytest.mark.usefixtures("demo_fonts")


def picture_with(family, wanted):
    """The first training picture that shows what ``wanted`` asks for."""
    for seed in range(200):
        picture = FAMILIES[family].draw(rng_of(family, seed), SIZES[0])
        if wanted(picture):
            return picture
    raise AssertionError("no such picture")


def read(picture, question):
    """The characters that stand where the answer is said to be read; · where nothing is said."""
    return "".join("·" if glyph is None else picture.glyphs[glyph].character for glyph in sources(picture, question))


@pytest.mark.parametrize("family", ["order", "waybill", "document"])
def test_a_value_is_read_where_it_is_drawn(family):
    for seed in range(30):
        picture = FAMILIES[family].draw(rng_of(family, seed), SIZES[0])
        for key, value in picture.values.items():
            assert read(picture, Question("", value, key)) in (value, "·" * len(value))


def test_the_whole_text_is_read_from_top_to_bottom():
    picture = picture_with("waybill", lambda picture: len(picture.lines) > 3)
    text = "\n".join(picture.lines)
    assert read(picture, Question("", text, "transcription")) == text.replace("\n", "·")
    glyphs = [glyph for glyph in sources(picture, Question("", text, "transcription")) if glyph is not None]
    assert glyphs == sorted(glyphs)


def test_a_number_that_stands_in_two_rows_is_read_in_the_row_asked_about():
    def quantity_twice(picture):
        quantities = [value for key, value in picture.values.items() if key.endswith("/数量")]
        return len(set(quantities)) < len(quantities)

    picture = picture_with("document", quantity_twice)
    cells = {key: value for key, value in picture.values.items() if key.endswith("/数量")}
    twice = [key for key, value in cells.items() if list(cells.values()).count(value) > 1]
    rows = set()
    for key in twice:
        good = key.split("/")[0]
        question = Question("", cells[key], "cell", after=good)
        assert read(picture, question) == cells[key]
        rows.add(picture.glyphs[sources(picture, question)[0]].y)
        assert sources(picture, Question("", cells[key], "quantity"))[0] is None  # nobody can say which
    assert len(rows) == len(twice)


def test_a_defect_is_read_from_its_joint():
    board = FAMILIES["board"]
    picture = picture_with(
        "board", lambda picture: picture.values.get("2,3") and len(board.showcase(picture)[0].answer) > 10
    )
    which = board.showcase(picture)[0]
    joints = {}
    for defect, start in ((text, which.answer.index(text)) for text in which.answer.split("，")):
        places = sources(picture, Question(which.text, which.answer, "which"))[start : start + len(defect)]
        assert None not in places
        assert read(picture, which)[start + 1] == defect[1]
        assert read(picture, which)[start + 4] == defect[4]
        assert read(picture, which)[start + 6] == defect[6]
        joints[defect] = {picture.glyphs[place].y for place in places}
    assert all(len(rows) == 1 for rows in joints.values())
    one = Question("第2行第3列有什么问题？", picture.values["2,3"], "joint")
    assert read(picture, one) == picture.values["2,3"][0] * 2


def test_what_is_not_drawn_is_read_nowhere():
    picture = picture_with("order", lambda picture: "status" not in picture.values)
    assert read(picture, Question("订单状态？", "图中没有状态", "absent")) == "······"
