"""The vision tower on a thread of its own, beside the decoding: running rows do not wait for somebody's picture."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

import torch

from deployments.contract import Pixels
from deployments.model.engine import CLOSING_S
from deployments.model.families.family import Family
from deployments.model.faults import is_device_fault, is_out_of_memory

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a picture after ``took_s``, a share of its lot: (visual tokens, hidden size), or why none."""

    key: bytes
    outcome: torch.Tensor | Exception
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Asked:
    key: bytes
    picture: Pixels
    tokens: int


class Sight:
    """Looks at pictures in the order asked, and tells of each when it is done.

    On a GPU those that wait together, up to ``lot`` visual tokens, are looked at together; on a CPU, where that is no
    faster, one by one. ``tell`` is called on this thread.
    """

    def __init__(
        self, family: Family, device: torch.device, lot: int, threads: int, tell: Callable[[Seen], None]
    ) -> None:
        self._family, self._device, self._tell = family, device, tell
        self._lot, self._threads = lot if device.type == "cuda" else 0, threads
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        self._began: float | None = None  # to look at what it looks at
        self._thread = threading.Thread(target=self._work, name="vision", daemon=True)
        self._thread.start()

    def ask(self, key: bytes, picture: Pixels) -> None:
        self._asked.put(_Asked(key, picture, self._family.tokens(picture)))

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def busy_s(self) -> float:
        """For how long it has been looking at the same pictures; 0 while there are none."""
        began = self._began  # one read: the other thread writes it
        return 0.0 if began is None else time.monotonic() - began

    def close(self) -> None:
        """As ``end``, and wait for it."""
        self.end()
        self._thread.join(timeout=CLOSING_S)

    def end(self) -> None:
        """Asked pictures that were not looked at are forgotten."""
        with suppress(Empty):
            while True:
                self._asked.get_nowait()
        self._asked.put(None)

    @torch.inference_mode()
    def _work(self) -> None:
        torch.set_num_threads(self._threads)
        with self._own_stream():
            for lot in self._lots():
                self._see(lot)
                lot.clear()  # while it waits for others, it holds nobody's picture

    def _see(self, lot: Mapping[bytes, Pixels]) -> None:
        self._began = time.monotonic()
        found, took_s = self._looked(lot), self.busy_s() / len(lot)
        self._began = None
        for seen in found:
            self._tell(replace(seen, took_s=took_s))

    def _lots(self) -> Iterator[dict[bytes, Pixels]]:
        """What waits, in lots of at most so many tokens, or of one picture; ends with the first None."""
        following = self._asked.get()
        while following is not None:
            lot, room = {following.key: following.picture}, self._lot - following.tokens
            following = self._next(room)
            while following is not None and following.tokens <= room:
                lot[following.key] = following.picture
                room -= following.tokens
                following = self._next(room)
            yield lot
            following = following or self._asked.get()

    def _next(self, room: int) -> _Asked | None:
        """Another one, if it is there already."""
        return self._asked.get() if room > 0 and not self._asked.empty() else None

    def _looked(self, lot: Mapping[bytes, Pixels]) -> list[Seen]:
        """What fails is tried again by itself, so that only the guilty picture does."""
        try:
            features = self._family.features(list(lot.values()))
            self._hand_over(features)
            return [Seen(key, one) for key, one in zip(lot, features, strict=True)]
        except Exception as fault:
            if is_device_fault(fault):
                return [Seen(key, fault) for key in lot]
            if len(lot) > 1:
                logger.warning("%d pictures failed together, each is tried by itself: %r", len(lot), fault)
                return [seen for key, picture in lot.items() for seen in self._looked({key: picture})]
            [(key, picture)] = lot.items()
            return [Seen(key, self._again(picture) if is_out_of_memory(fault) else fault)]

    def _again(self, picture: Pixels) -> torch.Tensor | Exception:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            features = self._family.features([picture])
            self._hand_over(features)
        except Exception as fault:
            return fault
        return features[0]

    @contextmanager
    def _own_stream(self) -> Iterator[None]:
        if self._device.type != "cuda":
            yield
            return
        with torch.cuda.stream(torch.cuda.Stream(self._device)):  # type: ignore[no-untyped-call]
            yield

    def _hand_over(self, features: list[torch.Tensor]) -> None:
        """To another stream: finished, and not to be written over while that one reads."""
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
            for one in features:
                one.record_stream(torch.cuda.default_stream(self._device))
