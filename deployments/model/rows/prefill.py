"""From a prompt to KV in its request's rows, chunk by chunk, the chunks of several prompts in one forward."""

from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import torch

from deployments.model.families.family import Family
from deployments.model.rows.cache import Piece, PrefillAttention, RowCache
from deployments.model.rows.decode import Proposals, propose
from deployments.model.rows.sequence import Sequence
from deployments.model.stores import TensorStore


@dataclass(frozen=True, slots=True)
class Prefiller:
    """``begin`` once for each request that has got its rows, then ``run`` until its prompt is in them.

    ``prefixes`` keeps the KV of prompts up to the end of their last picture.
    """

    family: Family
    cache: RowCache
    prefixes: TensorStore

    def begin(self, sequence: Sequence) -> None:
        """What is known of its prompt is restored, the rest embedded."""
        prompt, pictures = sequence.request.prompt, sequence.request.pictures
        known = self.prefixes.get(sequence.prefix) if sequence.prefix else None
        begin = 0 if known is None else sequence.prefix_tokens
        positions, delta = self.family.positions(prompt, pictures)
        input_ids = prompt.input_ids[0, begin:].to(self.cache.kv.device)
        shown = [] if begin else [self._features(sequence, key) for key in sequence.keys]
        embeddings = self.family.embed(input_ids, shown)
        if known is not None:
            self.cache.restore(sequence.rows[0], known)
        sequence.begin = sequence.length = begin
        sequence.positions, sequence.delta, sequence.embeddings = positions, delta, embeddings
        sequence.features = {}

    @staticmethod
    def _features(sequence: Sequence, key: bytes) -> torch.Tensor:
        if key not in sequence.features:
            raise MemoryError("what was known of the picture has been given up for memory")
        return sequence.features[key]

    def run(self, group: Ordered[Sequence], room: int) -> Proposals:
        """The next chunks of these, ``room`` tokens in all; proposals for those whose prompt is then complete.

        First come, first served: whoever finds no room left waits for the next step.
        """
        pieces = _pieces(group, room)
        group = group[: len(pieces)]
        device, embeddings, positions = self.cache.kv.device, [], []
        for sequence, piece in zip(group, pieces, strict=True):
            assert sequence.embeddings is not None
            assert sequence.positions is not None
            begin, end = piece.begin, piece.begin + piece.count
            embeddings.append(sequence.embeddings[begin - sequence.begin : end - sequence.begin])
            positions.append(sequence.positions[:, begin:end])
        hidden = self.family.hidden(
            torch.cat(embeddings), torch.cat(positions, 1).to(device), PrefillAttention(self.cache, pieces)
        )
        return self._advanced(group, pieces, hidden)

    def _advanced(self, group: Ordered[Sequence], pieces: Ordered[Piece], hidden: torch.Tensor) -> Proposals:
        """Nothing changes before all that can fail is done: a chunk can be run again."""
        ended, ends, at = [], [], 0
        for sequence, piece in zip(group, pieces, strict=True):
            at += piece.count
            if piece.begin + piece.count == sequence.request.prompt.tokens:
                ended.append(sequence)
                ends.append(at - 1)
        proposals: Proposals = {}
        if ended:
            proposals = propose(self.family.logits(hidden[ends]), ended, [[row] for row in range(len(ended))])
        for sequence in ended:
            self._share(sequence, proposals[sequence.id] != [])
        for sequence, piece in zip(group, pieces, strict=True):
            sequence.length = piece.begin + piece.count
        for sequence in ended:
            sequence.embeddings = sequence.positions = None
        return proposals

    def _share(self, sequence: Sequence, is_sound: bool) -> None:
        """Every row of the request gets the prompt, and the store its beginning."""
        row, tokens = sequence.rows[0], sequence.prefix_tokens
        self.cache.spread(row, sequence.rows[1:], sequence.request.prompt.tokens)
        if sequence.prefix and not sequence.begin and is_sound:
            size = tokens * self.cache.kv[:, 0, :, 0].nbytes
            self.prefixes.keep(sequence.prefix, lambda: self.cache.save(row, tokens), size)


def shares(group: Ordered[Sequence], room: int) -> dict[Sequence, int]:
    """How many tokens of whose prompt come next, ``room`` in all: first come, first served."""
    found: dict[Sequence, int] = {}
    for sequence in group:
        count = min(room, sequence.missing)
        if count < 1:
            break
        found[sequence] = count
        room -= count
    return found


def _pieces(group: Ordered[Sequence], room: int) -> list[Piece]:
    return [Piece(sequence.rows[0], sequence.length, count) for sequence, count in shares(group, room).items()]
