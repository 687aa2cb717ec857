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

from deployments.model.family import Family
from deployments.model.rows.beams import Beams, Candidate, Greedy
from deployments.model.rows.cache import Decode, RowCache
from deployments.model.rows.sequence import Sequence

Proposals = dict[int, list[Candidate]]
"""By sequence id: what its search could go on with, best first."""


NO_SCORE = np.float32(0)
"""A greedy search does not ask for it."""


class Forward(Protocol):
    def __call__(self, fed: torch.Tensor, seen: int) -> torch.Tensor:
        """Logits (rows, vocabulary) after one token of each row.

        ``fed`` is int64 (3, rows) on the device: token id, column of the cache to write to, rotary position. Every row
        looks at the first ``seen`` columns, up to its own.
        """
        ...


@dataclass(frozen=True, slots=True)
class EagerForward:
    """The forward as it is."""

    family: Family
    cache: RowCache

    def __call__(self, fed: torch.Tensor, seen: int) -> torch.Tensor:
        tokens, columns, positions = fed
        with self.cache.writing(Decode(columns, seen)) as kv:
            mask = torch.arange(seen, device=fed.device) <= columns[:, None]
            embeddings = self.family.embed(tokens[:, None], ())
            hidden = self.family.hidden(embeddings, positions.expand(3, -1)[..., None], mask[:, None, None], kv)
        return self.family.logits(hidden[:, -1])


def step(forward: Forward, cache: RowCache, running: Ordered[Sequence], bucket: int) -> Proposals:
    """Feed every running row its last token. ``bucket`` is what the number of columns looked at is rounded up to."""
    count = 1 + max(row for sequence in running for row in sequence.rows)
    fed = np.zeros((3, count), np.int64)
    fed[1] = cache.length  # a row that does not run writes where nobody reads
    for sequence in running:
        for row, tip in zip(sequence.rows, sequence.search.tips, strict=True):
            fed[:, row] = tip.token_id, sequence.length, sequence.length + sequence.delta
    longest = 1 + max(sequence.length for sequence in running)
    seen = min(cache.length, -(-longest // bucket) * bucket)
    logits = forward(torch.from_numpy(fed).to(cache.kv.device), seen)
    proposals = propose(logits, running, [sequence.rows for sequence in running])
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
    best = logits.argmax(-1)
    parts = [best]
    for (_, candidates), members in groups.items():
        parts += _scored(logits, members, sequences, rows, candidates)
    packed = iter(_to_host(parts))
    tokens = next(packed)
    proposals: Proposals = {
        sequence.id: [Candidate(NO_SCORE, int(tokens[rows[index][0]]), 0)]
        for index, sequence in enumerate(sequences)
        if isinstance(sequence.search, Greedy)
    }
    for members in groups.values():
        proposals |= _candidates(packed, members, sequences, logits.shape[-1])
    return proposals


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
