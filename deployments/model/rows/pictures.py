"""What is known of the pictures that waiting requests show, and which of them are being looked at."""

from collections.abc import Callable, Iterable

import torch

from deployments.contract import Pixels
from deployments.model.rows.sequence import Sequence
from deployments.model.stores import TensorStore

Look = Callable[[bytes, Pixels], None]


class Pictures:
    """``look`` asks for a picture to be seen; what comes of it comes back by ``take``.

    ``prefixes`` holds the KV of prompts that need no picture any more, ``features`` those of pictures just seen.
    """

    def __init__(self, features: TensorStore, prefixes: TensorStore, look: Look) -> None:
        self.features, self._prefixes, self._look = features, prefixes, look
        self._looking: set[bytes] = set()

    def is_ready(self, sequence: Sequence) -> bool:
        """Whether all that its prefill needs is known."""
        if sequence.prefix and sequence.prefix in self._prefixes:
            return True
        return all(key in sequence.features or key in self.features for key in sequence.keys)

    def look_at(self, sequence: Sequence) -> None:
        """Ask for those of its pictures that nobody has asked for."""
        for key, picture in zip(sequence.keys, sequence.request.pictures, strict=True):
            if key not in sequence.features and key not in self.features and key not in self._looking:
                self._looking.add(key)
                try:
                    self._look(key, picture)
                except BaseException:
                    self._looking.discard(key)
                    raise

    def take(self, key: bytes, seen: torch.Tensor, took_s: float, asked: Iterable[Sequence]) -> None:
        """Features for those that wait for them, and for those to come."""
        for sequence in asked:
            sequence.features[key] = seen
            sequence.seeing_s += took_s
        self.features.keep(key, lambda: seen, seen.untyped_storage().nbytes())

    def forget(self, key: bytes) -> None:
        """It is not being looked at any more."""
        self._looking.discard(key)

    def hand_over(self, sequence: Sequence) -> None:
        """What the store has of its pictures becomes its own."""
        for key in sequence.keys:
            if key not in sequence.features and (known := self.features.get(key)) is not None:
                sequence.features[key] = known
