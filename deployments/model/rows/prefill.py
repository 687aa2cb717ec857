"""From a prompt to KV in its request's rows: once per request, several together, and nothing twice for one picture."""

from collections.abc import Mapping
from collections.abc import Sequence as Ordered

import torch
from torch.nn.utils.rnn import pad_sequence

from deployments.contract import Pixels
from deployments.model.family import Family
from deployments.model.rows.cache import Prefill, RowCache
from deployments.model.rows.decode import Proposals, propose
from deployments.model.rows.sequence import Sequence
from deployments.model.rows.store import TensorStore, picture_key, prefix_key, prefix_tokens

ALIKE = 0.75
"""Prompts go together when the shortest is at least this share of the longest: the rest of it would be padding."""


class Prefiller:
    """Runs prompts through the model, at most ``chunk`` tokens of one at a time."""

    def __init__(self, family: Family, cache: RowCache, features: TensorStore, prefixes: TensorStore, chunk: int):
        self._family, self._cache, self._chunk = family, cache, chunk
        self._features, self._prefixes = features, prefixes

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
        known = self._prefixes.get(sequence.prefix)
        if known is not None:
            self._cache.restore(sequence.rows[0], known)
            sequence.length = sequence.begin = tokens
        return known is not None

    def run(self, sequences: Ordered[Sequence]) -> Proposals:
        """One chunk of each of these; proposals for those whose prompt is then complete."""
        chunks = {sequence.id: self._next_chunk(sequence) for sequence in sequences}
        ordered = sorted(sequences, key=lambda sequence: chunks[sequence.id])
        proposals: Proposals = {}
        group: list[Sequence] = []
        for sequence in ordered:
            if group and (
                chunks[group[0].id] < ALIKE * chunks[sequence.id] or bool(group[0].length) != bool(sequence.length)
            ):
                proposals |= self._run_together(group, chunks)
                group = []
            group.append(sequence)
        return proposals | (self._run_together(group, chunks) if group else {})

    def _next_chunk(self, sequence: Sequence) -> int:
        return min(self._chunk, sequence.request.prompt.tokens - sequence.length)

    def _run_together(self, group: list[Sequence], chunks: dict[int, int]) -> Proposals:
        device, counts = self._cache.kv.device, [chunks[sequence.id] for sequence in group]
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
        for sequence, count in zip(group, counts, strict=True):
            sequence.length += count
        complete = [i for i, sequence in enumerate(group) if sequence.length == sequence.request.prompt.tokens]
        for index in complete:
            self._finish(group[index])
        if not complete:
            return {}
        last = hidden[complete, [counts[index] - 1 for index in complete]]
        ended = [group[index] for index in complete]
        return propose(self._family.logits(last), ended, [[place] for place in range(len(ended))])

    def _finish(self, sequence: Sequence) -> None:
        """Every row of the request gets the prompt, and the store its beginning."""
        self._cache.spread(sequence.rows[0], sequence.rows[1:], sequence.length)
        if sequence.prefix and not sequence.begin:
            tokens = prefix_tokens(sequence.request.prompt)
            self._prefixes.put(sequence.prefix, self._cache.save(sequence.rows[0], tokens))
        sequence.embeddings = sequence.positions = None

    def _seen(self, pictures: Mapping[bytes, Pixels]) -> dict[bytes, torch.Tensor]:
        """Features by key, those of pictures not seen before computed together."""
        known = {key: features for key in pictures if (features := self._features.get(key)) is not None}
        new = {key: picture for key, picture in pictures.items() if key not in known}
        if new:
            for key, features in zip(new, self._family.features(list(new.values())), strict=True):
                known[key] = features
                self._features.put(key, features)
        return known
