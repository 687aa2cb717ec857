import dataclasses

import pytest

from deployments import contract
from deployments.contract import Question


def test_what_travels_is_frozen_and_slotted():
    travelling = [v for v in vars(contract).values() if dataclasses.is_dataclass(v)]
    assert len(travelling) >= 6
    for kind in travelling:
        assert kind.__dataclass_params__.frozen, kind
        assert "__dict__" not in dir(kind), kind


@pytest.mark.parametrize(("text", "tokens", "reason"), [(" ", None, "text"), ("x", 0, "at least 1")])
def test_an_impossible_question_is_refused_where_it_is_made(text, tokens, reason):
    with pytest.raises(ValueError, match=reason):
        Question("r", text, tokens, 0.0)
