"""What the settings refuse by themselves, so that a live change is refused too, and how actions are laid over."""

import math

import pytest
from pydantic import ValidationError

from deployments.contract import Verdict
from deployments.preprocess.safety.filter import action_of
from deployments.preprocess.safety.settings import ClipSettings, SafetyKnobs

REFUSED = [
    ({"thresholds": {"identity_card": 9}}, "less than or equal to 1"),
    ({"thresholds": {"identity_card": -1}}, "greater than or equal to 0"),
    ({"thresholds": {"identity_card": math.nan}}, "thresholds.identity_card"),
    ({"threshold": 1.5}, "less than or equal to 1"),
    ({"actions": {"identity_card": "stop"}}, "'block', 'flag' or 'pass'"),
    ({"actions": {"unchecked": "pass"}}, "on_failure"),
    ({"thresholds": {"unchecked": 0.5}}, "on_failure"),
    ({"actions": {" identity_card": "pass"}}, "without spaces around it"),
    ({"actions": {"": "pass"}}, "a label is a text"),
]


@pytest.mark.parametrize(("knobs", "message"), REFUSED, ids=[str(row[0]) for row in REFUSED])
def test_knobs_out_of_range_are_refused(knobs, message):
    with pytest.raises(ValidationError, match=message):
        SafetyKnobs.model_validate(knobs)


@pytest.mark.parametrize("phrases", [{}, {"unchecked": "a photo"}, {"gun": " "}, {"": "a photo"}], ids=str)
def test_a_label_needs_a_name_and_a_phrase(phrases):
    with pytest.raises(ValidationError):
        ClipSettings(folder="/clip", phrases=phrases)


@pytest.mark.parametrize(
    ("actions", "label", "action"),
    [
        ({}, "identity_card", "block"),
        ({"nsfw": "flag"}, "identity_card", "block"),
        ({"nsfw": "flag"}, "nsfw", "flag"),
        ({"identity_card": "pass"}, "identity_card", "pass"),
        ({"identity_card": "pass"}, "bank_card", "block"),
    ],
)
def test_actions_are_laid_over_the_default_blocks(actions, label, action):
    knobs = SafetyKnobs(actions=actions)
    assert action_of(Verdict(label, 0.9, "says"), knobs) == action
    assert SafetyKnobs.model_validate(knobs.model_dump(mode="json")) == knobs  # as they travel to the worker
