import pytest

from deployments.model.answer_text import clean

CASES = [
    ("plain", "¥3362.16", "¥3362.16"),
    ("reasoning", "<think>let me see\n</think>\n¥12", "¥12"),
    ("empty reasoning", "<think></think>\n¥12", "¥12"),
    ("reasoning opened by the template", "let me see</think>\n¥12", "¥12"),
    ("reasoning cut off", "<think>let me see and", ""),
    ("reasoning cut off after text", "¥12<think>wait", "¥12"),
    ("answer tags", "<think>x</think><answer>¥12</answer>", "¥12"),
    ("box", "<|begin_of_box|>¥12<|end_of_box|>", "¥12"),
    ("end tokens", "¥12<|endoftext|><|user|>", "¥12"),
    ("leading mask", "[gMASK]<sop>¥12", "¥12"),
    ("lines stay", "订单详情\n金额：¥12\n", "订单详情\n金额：¥12"),
    ("angle brackets of the picture stay", "a < b and <b>bold</b>", "a < b and <b>bold</b>"),
    ("nothing but control tokens", "<|user|><|assistant|>", ""),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_template_leftovers_go_and_the_answer_stays(text, expected):
    assert clean(text) == expected
