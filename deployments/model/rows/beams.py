"""The search of one request: greedy, or beams exactly as ``transformers``' ``generate`` searches them.

The device proposes candidates (``decode.py``); what becomes of them is decided here, on the host, in float32 as there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deployments.model.engine import Decoding
from deployments.model.repetition import WINDOW, is_due, repeats


class Node(NamedTuple):
    """A token and what stands before it: beams that share a beginning share its nodes."""

    token_id: int
    before: "Node | None"


ROOT = Node(-1, None)
"""Before the first token."""


def token_ids(node: Node, after: Node = ROOT) -> tuple[int, ...]:
    """A hypothesis from its first token to its last, or what of it follows another one that it goes on from."""
    ids: list[int] = []
    while node is not after and node.before is not None:
        ids.append(node.token_id)
        node = node.before
    return tuple(reversed(ids))


def is_stuck(node: Node, generated: int) -> bool:
    """Whether a hypothesis of so many tokens repeats itself, as far as it is looked at."""
    return is_due(generated) and repeats(last_ids(node))


def last_ids(node: Node) -> tuple[int, ...]:
    """Of a hypothesis, the tokens that a repetition is told from."""
    ids: list[int] = []
    while node.before is not None and len(ids) < WINDOW:
        ids.append(node.token_id)
        node = node.before
    return tuple(reversed(ids))


@dataclass(frozen=True, slots=True)
class Candidate:
    """``token_id`` after the hypothesis of beam ``source``, with their summed log-probability."""

    score: np.float32
    token_id: int
    source: int


class Greedy:
    """One hypothesis, extended by the most probable token."""

    candidates = 1

    def __init__(self, decoding: Decoding, eos_token_ids: Iterable[int], begun: Node = ROOT, count: int = 0) -> None:
        """``begun`` holds ``count`` tokens that have been generated already."""
        self._decoding, self._eos = decoding, frozenset(eos_token_ids)
        self.tips = [begun]
        self.generated = count
        self.done = False

    @property
    def best(self) -> Node:
        return self.tips[0]

    def extend(self, candidates: Sequence[Candidate]) -> list[int]:
        """Take the one candidate; returns its source."""
        token_id = candidates[0].token_id
        self.tips = [Node(token_id, self.tips[0])]
        self.generated += 1
        is_last = token_id in self._eos or self.generated >= self._decoding.max_new_tokens
        self.done = is_last or is_stuck(self.tips[0], self.generated)
        return [0]


class Beams:
    """``beam_width`` running hypotheses and the best finished ones.

    Semantics, with one request a batch, of ``GenerationMixin._beam_search`` (transformers 5.23): of
    ``max(2, 1 + eos ids) * width`` candidates the first ``width`` that do not end go on; one that ends among the first
    ``width`` is finished, and scored by its log-probability over its length to the power of ``length_penalty``.
    One that has come to repeat itself ends like one that says so.
    """

    def __init__(self, decoding: Decoding, eos_token_ids: Iterable[int]) -> None:
        self._decoding, self._eos = decoding, frozenset(eos_token_ids)
        self.width = decoding.beam_width
        self.candidates = max(2, 1 + len(self._eos)) * self.width
        self.tips = [ROOT]
        self.scores = np.zeros(1, np.float32)
        self.generated = 0
        self.done = False
        self._finished: list[tuple[np.float32, Node]] = []  # best first

    @property
    def best(self) -> Node:
        """The best finished hypothesis; before one has, the best running one."""
        return self._finished[0][1] if self._finished else self.tips[0]

    def extend(self, candidates: Sequence[Candidate]) -> list[int]:
        """Take ``self.candidates`` candidates, best first; returns the source of each beam that goes on."""
        self.generated += 1
        at_limit = self.generated >= self._decoding.max_new_tokens
        grown = [Node(c.token_id, self.tips[c.source]) for c in candidates]
        ends = [
            at_limit or c.token_id in self._eos or is_stuck(node, self.generated)
            for c, node in zip(candidates, grown, strict=True)
        ]
        finished = [(self._normalised(c.score), node)
                    for c, node, end in zip(candidates[: self.width], grown, ends, strict=False) if end]  # fmt: skip
        self._finished = sorted([*self._finished, *finished], key=lambda pair: -pair[0])[: self.width]
        running = [place for place, end in enumerate(ends) if not end][: self.width]
        if running:
            self.tips = [grown[place] for place in running]
            self.scores = np.array([candidates[place].score for place in running], np.float32)
        self.done = at_limit or self._is_settled()
        return [candidates[place].source for place in running]

    def collapse(self) -> Greedy:
        """Keep the best hypothesis alone, and search on greedily from it, in the first beam's row.

        When the best one is finished already, so is the search.
        """
        if self._finished and self._finished[0][0] >= self._normalised(self.scores[0]):
            greedy = Greedy(self._decoding, self._eos, self._finished[0][1], self.generated)
            greedy.done = True
            return greedy
        return Greedy(self._decoding, self._eos, self.tips[0], self.generated)

    def _normalised(self, score: np.float32) -> np.float32:
        return np.float32(score / np.float32(self.generated**self._decoding.length_penalty))

    def _is_settled(self) -> bool:
        """Whether no running beam can still improve on the finished ones, as far as ``early_stopping`` wants to know.

        ``never`` takes a beam for as good as it would be at its longest, if length helps, without another token's cost.
        """
        if len(self._finished) < self.width:
            return False
        decoding, length = self._decoding, self.generated
        if decoding.early_stopping is True:
            return True
        if decoding.early_stopping == "never" and decoding.length_penalty > 0:
            length = decoding.max_new_tokens
        best = np.float32(self.scores[0] / np.float32(length**decoding.length_penalty))
        return bool(best <= self._finished[-1][0])
