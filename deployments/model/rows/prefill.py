"""From a prompt to KV in its request's rows: once per request, several together, and nothing twice for one picture."""

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Ordered

import torch
from torch.nn.utils.rnn import pad_sequence

from deployments.contract import CELL, Pixels
from deployments.model.family import Family
from deployments.model.rows.cache import Prefill, RowCache
from deployments.model.rows.decode import Proposals, propose
from deployments.model.rows.sequence import Sequence
from deployments.model.rows.store import TensorStore, picture_key, prefix_key, prefix_tokens

ALIKE = 0.75
"""Prompts go together when the shortest is at least this share of the longest: the rest of it would be padding."""


class Prefiller:
    """Runs prompts through the model: ``begin`` once for each, then ``run`` by chunks of at most ``chunk`` tokens."""

    def __init__(self, family: Family, cache: RowCache, features: TensorStore, prefixes: TensorStore, chunk: int):
        self._family, self._cache, self._chunk = family, cache, chunk
        self.features, self.prefixes = features, prefixes

    def begin(self, sequences: Ordered[Sequence]) -> None:
        """Make newly admitted sequences ready to run: what is known of them restored, the rest embedded."""
        new: dict[bytes, Pixels] = {}
        keys: dict[int, list[bytes]] = {}
        for sequence in sequences:
            keys[sequence.id] = [picture_key(picture) for picture in sequence.request.pictures]
            if not self._restore(sequence, keys[sequence.id]):
                new |= dict(zip(keys[sequence.id], sequence.request.pictures, strict=True))
        features = self._seen(new)
        for sequence in sequences:
            prompt, shown = sequence.request.prompt, [] if sequence.begin else keys[sequence.id]
            sequence.positions, sequence.delta = self._family.positions(prompt, sequence.request.pictures)
            input_ids = prompt.input_ids[:, sequence.begin :].to(self._cache.kv.device)
            sequence.embeddings = self._family.embed(input_ids, [features[key] for key in shown])[0]

    def _restore(self, sequence: Sequence, keys: Ordered[bytes]) -> bool:
        """Give a sequence the KV of its prompt up to the end of its last picture, if that is known."""
        if not keys:
            return False
        tokens = prefix_tokens(sequence.request.prompt)
        sequence.prefix = prefix_key(sequence.request.prompt, tokens, keys)
        known = self.prefixes.get(sequence.prefix)
        if known is not None:
            self._cache.restore(sequence.rows[0], known)
            sequence.length = sequence.begin = tokens
        return known is not None

    def groups(self, sequences: Ordered[Sequence]) -> list[list[Sequence]]:
        """Sequences whose next chunks are alike enough to go through the model together."""
        groups: list[list[Sequence]] = []
        for sequence in sorted(sequences, key=lambda sequence: (sequence.length > 0, self._next_chunk(sequence))):
            if groups and self._are_alike(groups[-1][0], sequence):
                groups[-1].append(sequence)
            else:
                groups.append([sequence])
        return groups

    def _are_alike(self, shortest: Sequence, longest: Sequence) -> bool:
        both_fresh_or_neither = (shortest.length > 0) == (longest.length > 0)
        return both_fresh_or_neither and self._next_chunk(shortest) >= ALIKE * self._next_chunk(longest)

    def _next_chunk(self, sequence: Sequence) -> int:
        return min(self._chunk, sequence.request.prompt.tokens - sequence.length)

    def run(self, group: Ordered[Sequence]) -> Proposals:
        """One chunk of each of these; proposals for those whose prompt is then complete."""
        device, counts = self._cache.kv.device, [self._next_chunk(sequence) for sequence in group]
        embeddings, positions, columns = [], [], []
        for sequence, count in zip(group, counts, strict=True):
            assert sequence.embeddings is not None
            assert sequence.positions is not None
            done, end = sequence.length - sequence.begin, sequence.length + count
            embeddings.append(sequence.embeddings[done : done + count])
            positions.append(sequence.positions[:, sequence.length : end].T)
            columns.append(torch.arange(sequence.length, end))
        fresh = all(sequence.length == 0 for sequence in group)
        seen = 0 if fresh else max(sequence.length + count for sequence, count in zip(group, counts, strict=True))
        where = pad_sequence(columns, batch_first=True, padding_value=self._cache.length).to(device)
        window = Prefill(torch.tensor([sequence.rows[0] for sequence in group], device=device), where, seen)
        # Padding stands behind every real token, so causality alone hides it from them.
        mask = None if fresh else (torch.arange(seen, device=device) <= where[..., None])[:, None]
        with self._cache.writing(window) as cache:
            hidden = self._family.hidden(
                pad_sequence(embeddings, batch_first=True),
                pad_sequence(positions, batch_first=True).to(device).permute(2, 0, 1),
                mask,
                cache,
            )
        return self._advance(group, counts, hidden)

    def _advance(self, group: Ordered[Sequence], counts: Ordered[int], hidden: torch.Tensor) -> Proposals:
        complete = [
            place for place, (sequence, count) in enumerate(zip(group, counts, strict=True))
            if sequence.length + count == sequence.request.prompt.tokens
        ]  # fmt: skip
        proposals: Proposals = {}
        if complete:
            last = hidden[complete, [counts[place] - 1 for place in complete]]
            ended = [group[place] for place in complete]
            proposals = propose(self._family.logits(last), ended, [[row] for row in range(len(ended))])
        for sequence, count in zip(group, counts, strict=True):
            sequence.length += count
        for place in complete:
            self._finish(group[place])
        return proposals

    def _finish(self, sequence: Sequence) -> None:
        """Every row of the request gets the prompt, and the store its beginning."""
        self._cache.spread(sequence.rows[0], sequence.rows[1:], sequence.length)
        if sequence.prefix and not sequence.begin:
            tokens = prefix_tokens(sequence.request.prompt)
            self.prefixes.put(sequence.prefix, self._cache.save(sequence.rows[0], tokens))
        sequence.embeddings = sequence.positions = None

    def _seen(self, pictures: Mapping[bytes, Pixels]) -> dict[bytes, torch.Tensor]:
        """Features by key, those of pictures not seen before computed together."""
        known = {key: features for key in pictures if (features := self.features.get(key)) is not None}
        new = {key: picture for key, picture in pictures.items() if key not in known}
        for keys in self._affordable(new):
            for key, features in zip(keys, self._family.features([new[key] for key in keys]), strict=True):
                known[key] = features
                self.features.put(key, features)
        return known

    def _affordable(self, pictures: Mapping[bytes, Pixels]) -> Iterator[list[bytes]]:
        """Their keys in lots that the vision tower takes at once: no more tokens than a chunk, or one picture."""
        lot: list[bytes] = []
        room = self._chunk
        for key, picture in pictures.items():
            tokens = picture.shape[0] * picture.shape[1] // CELL**2
            if lot and tokens > room:
                yield lot
                lot, room = [], self._chunk
            lot.append(key)
            room -= tokens
        if lot:
            yield lot
