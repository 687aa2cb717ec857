"""What an engine's requests say of its health: whose fault their ends were, and when the replica has to be replaced."""

from concurrent.futures import CancelledError

import torch

from deployments.errors import Overloaded, TuwenError, Unavailable
from deployments.model.faults import is_device_fault, is_out_of_memory

MOST_FAILURES = 5
"""So many requests that failed one after the other, with no answer between them: it is not they who are wrong."""
MOST_MEMORY_REFUSALS = 5
"""So many that were out of memory one after the other: what holds it does not give it back."""


class Health:
    """Written by the engine's thread, read by whoever asks for ``check``."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.failures = self.memory_refusals = 0
        self.ended_by: BaseException | None = None
        """What the engine cannot go on after: its device has failed, or its thread."""

    def answered(self) -> None:
        self.failures = self.memory_refusals = 0

    def failed(self, fault: BaseException) -> BaseException:
        """Count what a request ended with; returns what to tell whoever asked.

        A device's fault is none of theirs (Unavailable: it is asked again elsewhere), short memory is overload, and
        what else goes wrong is the request's own and comes back as it is.
        """
        if is_device_fault(fault):
            self.ended_by = fault
            return ended()
        if is_out_of_memory(fault):
            self.memory_refusals += 1
            return Overloaded("the model is out of memory: send a smaller picture, or try again later")
        if not isinstance(fault, TuwenError | CancelledError):
            self.failures += 1
        return fault

    def check(self) -> None:
        """Raises RuntimeError when another replica should take over."""
        if self.ended_by is not None:
            raise RuntimeError(f"the engine has died: {self.ended_by!r}") from self.ended_by
        if self.failures >= MOST_FAILURES:
            raise RuntimeError(f"{self.failures} requests have failed one after the other")
        if self.memory_refusals >= MOST_MEMORY_REFUSALS:
            raise RuntimeError(f"{self.memory_refusals} requests have been out of memory one after the other")
        self._check_device()

    def _check_device(self) -> None:
        """A failed device answers every call with its error, this one too, which asks for nothing."""
        if self._device.type != "cuda":
            return
        try:
            torch.cuda.mem_get_info(self._device)
        except RuntimeError as fault:
            raise RuntimeError(f"the device has failed: {fault}") from fault


def ending() -> Unavailable:
    """What a request is told that a closing engine does not begin."""
    return Unavailable("this replica is ending: ask again")


def ended() -> Unavailable:
    """What a request is told whose engine has died under it."""
    return Unavailable("the engine has ended: ask again")
