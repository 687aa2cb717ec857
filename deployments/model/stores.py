"""What is kept of pictures just seen, within bounds: features of the vision tower, and KV."""

import logging
from collections import OrderedDict
from collections.abc import Callable

import torch

from deployments.model.faults import is_device_fault

logger = logging.getLogger("ray.serve")


class TensorStore:
    """Tensors by key, least recently used first out, at most ``capacity`` bytes in all."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._tensors: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self.bytes = 0
        self.hits = self.misses = 0

    def get(self, key: bytes) -> torch.Tensor | None:
        tensor = self._tensors.get(key)
        if tensor is None:
            self.misses += 1
            return None
        self.hits += 1
        self._tensors.move_to_end(key)
        return tensor

    def put(self, key: bytes, tensor: torch.Tensor) -> None:
        """Keep a tensor; one larger than the whole store is not kept."""
        size = tensor.untyped_storage().nbytes()  # of a view, all that it keeps alive
        if key in self._tensors or size > self._capacity:
            return
        self.make_room(size)
        self._tensors[key] = tensor
        self.bytes += size

    def make_room(self, size: int) -> None:
        """Drop what was not used for longest until there is room for ``size`` bytes more, if there ever is."""
        while self._tensors and self.bytes + size > self._capacity:
            _, dropped = self._tensors.popitem(last=False)
            self.bytes -= dropped.untyped_storage().nbytes()

    def keep(self, key: bytes, make: Callable[[], torch.Tensor], size: int) -> None:
        """``put`` what ``make`` gives, of ``size`` bytes, or else go without: no answer hangs on what is kept.

        Raises what the device fails with.
        """
        if key in self._tensors or size > self._capacity:
            return
        try:
            self.make_room(size)
            self.put(key, make())
        except Exception as fault:
            if is_device_fault(fault):
                raise
            logger.warning("%d bytes of a picture are not kept: %r", size, fault)

    def clear(self) -> None:
        self._tensors.clear()
        self.bytes = 0

    def __contains__(self, key: bytes) -> bool:
        return key in self._tensors

    def __len__(self) -> int:
        return len(self._tensors)
