"""What is chosen of several ways, by times that the test gives."""

from itertools import count

import pytest
import torch

from deployments.model.arithmetic import ROUNDS, quickest, quickest_dtype


@pytest.mark.parametrize(
    ("costs", "chosen"),
    [
        ({"first": 10, "second": 7}, "first 0.7"),
        ({"first": 10, "second": 9}, "noise"),
        ({"first": 10, "second": 30}, "slower"),
        ({"first": 10, "second": 7, "third": 5}, "third"),
    ],
)
def test_another_way_is_taken_only_where_it_is_clearly_quicker(costs, chosen):
    now = [0.0]

    def taking(seconds):
        def way():
            now[0] += seconds

        return way

    found = quickest({name: taking(seconds) for name, seconds in costs.items()}, clock=lambda: now[0])
    assert found == {"first 0.7": "second", "noise": "first", "slower": "first", "third": "third"}[chosen]


def test_a_way_is_judged_by_its_best_time():
    ticks = count()
    times = iter([0, 9, 9, 15] + [0, 1, 1, 7] * (ROUNDS - 1))
    assert quickest({"first": lambda: None, "second": lambda: next(ticks)}, clock=lambda: next(times)) == "first"
    assert next(ticks) == ROUNDS


def test_the_type_is_one_of_the_two():
    assert quickest_dtype() in (torch.float32, torch.bfloat16)
