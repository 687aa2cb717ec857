"""One decode step: a forward of every running row, and the candidates for what comes next.

One host-to-device and one device-to-host transfer a step, whatever the number of requests.
"""

from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from deployments.model.families.family import Family
from deployments.model.rows.beams import Beams, Candidate, Greedy
from deployments.model.rows.cache import DecodeAttention, RowCache, Segment, segments
from deployments.model.rows.sequence import Sequence

Proposals = dict[int, list[Candidate]]
"""By sequence id: what its search could go on with, best first; nothing where its logits are no numbers."""


NO_SCORE = np.float32(0)
"""A greedy search does not ask for it."""


@dataclass(frozen=True, slots=True)
class Fed:
    """One token of each of some rows, in ascending order: int64 arrays of its id, row, column and rotary position."""

    tokens: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    positions: NDArray[np.int64]


class Forward(Protocol):
    def __call__(self, fed: Fed) -> torch.Tensor:
        """Float32 logits (rows, vocabulary) after one token of each row."""
        ...


@dataclass(frozen=True, slots=True)
class EagerForward:
    """The forward as it is."""

    family: Family
    cache: RowCache

    def __call__(self, fed: Fed) -> torch.Tensor:
        packed = np.stack([fed.tokens, fed.rows, fed.columns, fed.positions])
        return self.run(torch.from_numpy(packed).to(self.cache.kv.device), segments(fed.rows, fed.columns))

    def run(self, packed: torch.Tensor, parts: Ordered[Segment]) -> torch.Tensor:
        """``packed`` is (4, rows) on the device."""
        tokens, rows, columns, positions = packed
        attention = DecodeAttention(self.cache, rows, columns, parts)
        hidden = self.family.hidden(self.family.embed(tokens, ()), positions.expand(3, -1), attention)
        return self.family.logits(hidden)


def step(forward: Forward, running: Ordered[Sequence]) -> Proposals:
    """Feed every running row its last token."""
    held = [
        (row, tip.token_id, sequence.length, sequence.length + sequence.delta)
        for sequence in running
        for row, tip in zip(sequence.rows, sequence.search.tips, strict=True)
    ]
    rows, tokens, columns, positions = np.array(sorted(held), np.int64).T
    place = {row: index for index, row in enumerate(rows.tolist())}
    logits = forward(Fed(tokens, rows, columns, positions))
    proposals = propose(logits, running, [[place[row] for row in sequence.rows] for sequence in running])
    for sequence in running:
        sequence.length += 1
    return proposals


def propose(logits: torch.Tensor, sequences: Ordered[Sequence], rows: Ordered[Ordered[int]]) -> Proposals:
    """What each sequence could go on with. ``rows[i]`` are the rows of ``logits`` (rows, vocabulary) of its beams.

    The beams of all sequences of one width are scored in one operation.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, sequence in enumerate(sequences):
        if isinstance(sequence.search, Beams):
            groups[len(rows[index]), sequence.search.candidates].append(index)
    # A sum is finite only if all of them are.
    parts = [logits.argmax(-1), logits.sum(-1)]
    for (_, candidates), members in groups.items():
        parts += _scored(logits, members, sequences, rows, candidates)
    packed = iter(_to_host(parts))
    tokens, sums = next(packed), next(packed)
    proposals: Proposals = {
        sequence.id: [Candidate(NO_SCORE, int(tokens[rows[index][0]]), 0)]
        for index, sequence in enumerate(sequences)
        if isinstance(sequence.search, Greedy)
    }
    for members in groups.values():
        proposals |= _candidates(packed, members, sequences, logits.shape[-1])
    unsound = [s.id for s, own in zip(sequences, rows, strict=True) if not np.isfinite(sums[list(own)]).all()]
    return proposals | {number: [] for number in unsound}


def _scored(
    logits: torch.Tensor, members: list[int], sequences: Ordered[Sequence], rows: Ordered[Ordered[int]], candidates: int
) -> list[torch.Tensor]:
    """(members, candidates) scores, and places in (beam, vocabulary) laid end to end, best first."""
    scores = np.stack([search.scores for index in members if isinstance(search := sequences[index].search, Beams)])
    chosen = torch.tensor([list(rows[index]) for index in members], device=logits.device)
    summed = logits[chosen].log_softmax(-1) + torch.from_numpy(scores).to(logits.device)[..., None]
    return list(summed.flatten(1).topk(candidates))


def _candidates(
    packed: Iterator[np.ndarray], members: list[int], sequences: Ordered[Sequence], vocabulary: int
) -> Proposals:
    scores, places = next(packed), next(packed)
    sources, tokens = np.divmod(places, vocabulary)
    return {
        sequences[index].id: [
            Candidate(score, int(token), int(source))
            for score, token, source in zip(scores[member], tokens[member], sources[member], strict=True)
        ]
        for member, index in enumerate(members)
    }


def _to_host(parts: list[torch.Tensor]) -> list[np.ndarray]:
    """Float32 and int64 tensors as arrays, in one transfer."""
    shapes = [part.shape for part in parts]
    words = [part if part.dtype == torch.float32 else part.to(torch.int32).view(torch.float32) for part in parts]
    flat = torch.cat([word.flatten() for word in words]).cpu().numpy()
    arrays, begin = [], 0
    for part, shape in zip(parts, shapes, strict=True):
        array = flat[begin : begin + shape.numel()].reshape(shape)
        arrays.append(array if part.dtype == torch.float32 else array.view(np.int32))
        begin += shape.numel()
    return arrays
