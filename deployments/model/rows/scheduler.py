"""Who gets rows, who collapses: a pure function of what waits, what runs and how many rows are free.

Rows are the currency. A request that searches with beams holds a row for each; nobody waits while somebody else holds
spare beams. First come, first served within a priority.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request without rows: how many it would like, what its prefill costs, and whether its pictures were seen."""

    id: int
    width: int
    tokens: int
    priority: int = 0
    collapsible: bool = True
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """A request that holds ``width`` rows and has generated so many tokens: none while its prompt is taken in.

    A ``narrow`` search has fewer rows than it asked for.
    """

    id: int
    width: int
    generated: int
    collapsible: bool = True
    narrow: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """First ``collapse`` those, then ``admit`` these, each with its number of rows."""

    collapse: tuple[int, ...] = ()
    admit: tuple[tuple[int, int], ...] = ()


def plan(free: int, waiting: Sequence[Waiting], running: Sequence[Running], prefill_tokens: int) -> Plan:
    """What to do in this step.

    A request gets as many of the rows it asks for as leave one for each that waits behind it, and at least one: a
    narrower search is better than rows that stand idle. For a row that is needed the beams that have been searched
    longest collapse, those whose prompt is still taken in last; but before all others narrow ones, and these also where
    that gives somebody all the rows it asks for. Who is not ready is passed over. At most ``prefill_tokens`` of prompt
    are taken in per step (but always one request), so that a long queue of prefills does not hold up the rows that run.
    """
    queue = sorted(waiting, key=lambda request: -request.priority)  # stable: first come, first served within it
    spare = _spare(running)
    collapse: list[int] = []
    admit: list[tuple[int, int]] = []
    for place, request in enumerate(queue):
        if not request.ready:
            continue
        if admit and request.tokens > prefill_tokens:
            break
        behind = len(queue) - place - 1
        fewest = 1 if request.collapsible else request.width
        whole = request.width + behind
        wanted = whole if whole <= free + sum(r.width - 1 for r in spare if r.narrow) else fewest
        while free < wanted and spare:
            victim = spare.pop(0)
            collapse.append(victim.id)
            free += victim.width - 1
        if free < fewest:
            break
        width = max(fewest, min(request.width, free - behind))
        admit.append((request.id, width))
        free -= width
        prefill_tokens -= request.tokens
    return Plan(tuple(collapse), _widened(admit, queue, free - len(queue) + len(admit)))


def _widened(admit: list[tuple[int, int]], queue: Sequence[Waiting], idle: int) -> tuple[tuple[int, int], ...]:
    """The first of them get what came free after them, and nobody waits for."""
    asked, found = {request.id: request.width for request in queue}, []
    for number, width in admit:
        more = max(0, min(asked[number] - width, idle))
        found.append((number, width + more))
        idle -= more
    return tuple(found)


def _spare(running: Sequence[Running]) -> list[Running]:
    """Searches with rows to give up, in the order in which they do."""
    beams = [search for search in running if search.width > 1 and search.collapsible]
    return sorted(beams, key=lambda search: (not search.narrow, -search.generated))
