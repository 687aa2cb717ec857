"""The rule: what a verdict leads to, once per picture, and what happens when a check fails."""

import numpy as np
import pytest

from deployments.contract import Verdict
from deployments.errors import ImageBlocked, SafetyUnavailable
from deployments.preprocess.safety.check import Subject
from deployments.preprocess.safety.filter import SafetyFilter, action_of
from deployments.preprocess.safety.settings import SafetyKnobs

PICTURE = Subject(np.zeros((28, 28, 3), np.uint8), "0" * 64, "picture")


class Says:
    name = "says"

    def __init__(self, **scores):
        self.scores_told, self.asked, self.fault = scores, 0, None

    def scores(self, subject):
        self.asked += 1
        if self.fault:
            raise self.fault
        return self.scores_told


@pytest.mark.parametrize(
    ("verdict", "knobs", "action"),
    [
        (("nsfw", 0.9), {"actions": {"nsfw": "block"}}, "block"),
        (("nsfw", 0.9), {"actions": {"nsfw": "flag"}}, "flag"),
        (("nsfw", 0.9), {"actions": {}}, "pass"),
        (("nsfw", 0.9), {"actions": {}, "other_labels": "flag"}, "flag"),
        (("nsfw", 0.49), {"actions": {"nsfw": "block"}}, "pass"),
        (("nsfw", 0.5), {"actions": {"nsfw": "block"}}, "block"),
        (("nsfw", 0.9), {"actions": {"nsfw": "block"}, "thresholds": {"nsfw": 0.95}}, "pass"),
        (("nsfw", 0.2), {"actions": {"nsfw": "block"}, "thresholds": {"nsfw": 0.1}}, "block"),
        (("unchecked", 1.0), {}, "flag"),
    ],
)
def test_what_a_verdict_leads_to(verdict, knobs, action):
    assert action_of(Verdict(*verdict, "says"), SafetyKnobs(**knobs)) == action


def test_a_blocked_picture_is_refused_and_the_label_told():
    with pytest.raises(ImageBlocked, match="identity_card"):
        SafetyFilter([Says(identity_card=0.99)]).review(PICTURE, SafetyKnobs())


def test_flags_name_their_label_score_and_source():
    flags = SafetyFilter([Says(a=0.9, b=0.1)]).review(PICTURE, SafetyKnobs(other_labels="flag"))
    assert flags == (Verdict("a", 0.9, "says"),)


def test_a_picture_is_checked_once_and_judged_by_the_present_knobs():
    check = Says(nsfw=0.9)
    safety = SafetyFilter([check])
    assert safety.review(PICTURE, SafetyKnobs(actions={})) == ()
    with pytest.raises(ImageBlocked):
        safety.review(PICTURE, SafetyKnobs(actions={"nsfw": "block"}))
    assert check.asked == 1
    safety.review(Subject(PICTURE.pixels, "1" * 64, "picture"), SafetyKnobs())
    assert check.asked == 2


def test_as_many_verdicts_are_remembered_as_the_knob_says():
    check = Says(a=1.0)
    safety, knobs = SafetyFilter([check]), SafetyKnobs(cached_verdicts=2)
    for picture in ("1", "2", "3", "1"):
        safety.review(Subject(PICTURE.pixels, "0" * 64, picture), knobs)
    assert check.asked == 4


def test_a_failing_check_refuses_or_passes_as_the_setting_says_and_is_asked_again():
    check = Says(a=0.0)
    check.fault = RuntimeError("no weights")
    safety = SafetyFilter([check])
    with pytest.raises(SafetyUnavailable):
        safety.review(PICTURE, SafetyKnobs(on_failure="closed"))
    assert safety.review(PICTURE, SafetyKnobs(on_failure="open")) == (Verdict("unchecked", 1.0, "says"),)
    check.fault = None
    assert safety.review(PICTURE, SafetyKnobs(on_failure="open")) == ()
    assert check.asked == 3


def test_verdicts_of_many_labels_take_no_more_memory_than_the_knob_says():
    check = Says(**{f"label {number}": 0.1 for number in range(5000)})
    safety, knobs = SafetyFilter([check]), SafetyKnobs(cached_verdicts_mb=1)
    for picture in ("1", "2", "1"):  # one picture's alone take more than half of it
        safety.review(Subject(PICTURE.pixels, "0" * 64, picture), knobs)
    assert check.asked == 3
    safety.review(Subject(PICTURE.pixels, "0" * 64, "1"), SafetyKnobs(cached_verdicts_mb=1))
    assert check.asked == 3
