"""What was used most recently, bounded in number and in bytes: for caches, whose entries strangers choose."""

import sys
from collections import OrderedDict
from collections.abc import Hashable
from enum import Enum
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES = 150
"""What an entry takes besides key and value: its place in the mapping and in the order, and its count."""
SHARED = (Enum, bool, type(None))


class Recent(Generic[K, V]):
    """A mapping that forgets what was not used for longest, as soon as it is more than ``entries`` or ``most_bytes``.

    ``held_bytes`` is what it takes of memory, keys and bookkeeping included. Mutable values count as they were put.
    """

    def __init__(self, entries: int, most_bytes: int) -> None:
        self._most, self._most_bytes = entries, most_bytes
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, which is now the most recently used; None if there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def peek(self, key: K) -> V | None:
        """The value, which gets no younger by it."""
        entry = self._entries.get(key)
        return entry[0] if entry else None

    def put(self, key: K, value: V) -> None:
        """A value that alone is too large is not kept, nor what it was to replace."""
        self.drop(key)
        size = ENTRY_BYTES + size_of(key) + size_of(value)
        if self._most < 1 or size > self._most_bytes:
            return
        self._make_room(self._most - 1, self._most_bytes - size)
        self._entries[key] = value, size
        self.held_bytes += size

    def drop(self, key: K) -> None:
        _, size = self._entries.pop(key, (None, 0))
        self.held_bytes -= size

    def clear(self) -> None:
        self._entries.clear()
        self.held_bytes = 0

    def bound(self, entries: int, most_bytes: int) -> None:
        """Other bounds, from now on."""
        self._most, self._most_bytes = entries, most_bytes
        self._make_room(entries, most_bytes)

    def _make_room(self, entries: int, most_bytes: int) -> None:
        while self._entries and (len(self._entries) > entries or self.held_bytes > most_bytes):
            _, (_, size) = self._entries.popitem(last=False)
            self.held_bytes -= size


def size_of(value: Any) -> int:
    """Bytes that a value of strings, numbers, tuples and frozen dataclasses takes, with all in it."""
    if isinstance(value, SHARED):
        return 0
    size = sys.getsizeof(value)
    if isinstance(value, tuple):
        size += sum(map(size_of, value))
    else:
        size += sum(size_of(getattr(value, name)) for name in getattr(value, "__dataclass_fields__", ()))
    return size
