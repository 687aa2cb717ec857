"""What is kept of pictures just seen: features of the vision tower, and the KV of prompts up to the picture."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

import torch

from deployments.contract import Pixels
from deployments.model.prompt import Prompt


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
        if key in self._tensors or tensor.nbytes > self._capacity:
            return
        self._tensors[key] = tensor
        self.bytes += tensor.nbytes
        while self.bytes > self._capacity:
            _, dropped = self._tensors.popitem(last=False)
            self.bytes -= dropped.nbytes

    def clear(self) -> None:
        self._tensors.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._tensors)


def picture_key(picture: Pixels) -> bytes:
    """The picture itself: its size and every byte."""
    digest = blake2b(repr(picture.shape).encode(), digest_size=16)
    digest.update(picture.tobytes())
    return digest.digest()


def prefix_tokens(prompt: Prompt) -> int:
    """How many tokens of a prompt stand up to the end of its last picture; 0 without one."""
    pictured = prompt.mm_token_type_ids[0].nonzero()
    return int(pictured[-1]) + 1 if len(pictured) else 0


def prefix_key(prompt: Prompt, tokens: int, pictures: Sequence[bytes]) -> bytes:
    """Everything that the KV of the first ``tokens`` tokens depends on."""
    digest = blake2b(prompt.input_ids[0, :tokens].numpy().tobytes(), digest_size=16)
    for key in pictures:
        digest.update(key)
    return digest.digest()
