"""The safety filter: asks every check about a picture, once, and does what the knobs say about the answers."""

import logging
from collections.abc import Iterable, Sequence
from threading import Lock

from deployments.contract import Verdict
from deployments.errors import ImageBlocked, SafetyUnavailable
from deployments.preprocess.safety.check import SafetyCheck, Subject
from deployments.preprocess.safety.settings import UNCHECKED, Action, SafetyKnobs
from deployments.recent import Recent

logger = logging.getLogger("ray.serve")


def action_of(verdict: Verdict, knobs: SafetyKnobs) -> Action:
    """What a verdict leads to."""
    if verdict.label == UNCHECKED:
        return "flag"
    if verdict.score < knobs.thresholds.get(verdict.label, knobs.threshold):
        return "pass"
    return knobs.actions.get(verdict.label, knobs.other_labels)


class SafetyFilter:
    """Checks behind one door. Verdicts are remembered by picture, so that a knob's change judges them anew."""

    def __init__(self, checks: Sequence[SafetyCheck]) -> None:
        self._checks = checks
        self._known: Recent[str, tuple[Verdict, ...]] = Recent(0, 0)  # as the knobs say, once one has been asked
        self._lock = Lock()

    def review(self, subject: Subject, knobs: SafetyKnobs) -> tuple[Verdict, ...]:
        """The verdicts that flag the picture.

        Raises ImageBlocked, or SafetyUnavailable when a check fails and ``on_failure`` is ``closed``.
        """
        flags = []
        for verdict in self._verdicts(subject, knobs):
            action = action_of(verdict, knobs)
            if action == "block":
                raise ImageBlocked(f"the picture is not accepted here ({verdict.label}): send another one")
            if action == "flag":
                flags.append(verdict)
        return tuple(flags)

    def _verdicts(self, subject: Subject, knobs: SafetyKnobs) -> tuple[Verdict, ...]:
        # Two files may share a picture and differ for the blocklist, which knows files.
        key = f"{subject.picture} {subject.file_sha256}"
        with self._lock:
            self._known.bound(knobs.cached_verdicts, knobs.cached_verdicts_mb * 2**20)
            if (known := self._known.get(key)) is not None:
                return known
        verdicts = tuple(verdict for check in self._checks for verdict in _asked(check, subject, knobs))
        if all(verdict.label != UNCHECKED for verdict in verdicts):
            with self._lock:
                self._known.put(key, verdicts)
        return verdicts


def _asked(check: SafetyCheck, subject: Subject, knobs: SafetyKnobs) -> Iterable[Verdict]:
    try:
        return [Verdict(label, float(score), check.name) for label, score in check.scores(subject).items()]
    except Exception as fault:  # a backend is somebody else's code and weights
        logger.exception("the safety check %s failed: %s", check.name, fault)
        if knobs.on_failure == "closed":
            raise SafetyUnavailable("the picture could not be checked: send it again in a moment") from fault
        return [Verdict(UNCHECKED, 1.0, check.name)]
