"""Which rows a request holds: the first ones, without gaps, and nobody's row holds anything."""

import logging
from collections.abc import Iterable

from deployments.model.rows.cache import RowCache
from deployments.model.rows.sequence import Sequence

logger = logging.getLogger("ray.serve")


class Tenancy:
    """Gives rows out and takes them back. What fails here changes nothing that the next try does not put right."""

    def __init__(self, cache: RowCache) -> None:
        self._cache = cache
        self._unclean: dict[int, int] = {}  # nobody's rows that may hold something, up to which column

    def give_back(self, sequence: Sequence, rows: list[int]) -> None:
        """Rows that are clear for whoever gets them next. One that cannot be cleared now is before it is given out."""
        sequence.rows = [row for row in sequence.rows if row not in rows]
        self._unclean |= dict.fromkeys(rows, sequence.written)
        try:
            self.clean()
        except Exception as fault:  # of a device, which the next step will meet again, too
            logger.warning("rows %s could not be cleared: %r", rows, fault)

    def clean(self) -> None:
        for row, written in list(self._unclean.items()):
            self._cache.clear(row, written)
            del self._unclean[row]

    def close_gaps(self, holders: Iterable[Sequence]) -> None:
        """Move the highest rows into gaps below them: a step costs what its rows are, not where they are."""
        self.clean()
        held = {row: (sequence, index) for sequence in holders for index, row in enumerate(sequence.rows)}
        gaps = [row for row in range(len(held)) if row not in held]
        for gap, row in zip(gaps, sorted((row for row in held if row >= len(held)), reverse=True), strict=True):
            sequence, index = held[row]
            self._unclean[gap] = sequence.written
            self._cache.copy(row, gap, sequence.written)
            del self._unclean[gap]
            sequence.rows[index] = gap
            self._unclean[row] = sequence.written
        self.clean()
