"""What the steps of a model allocate at their fullest, told from shapes alone: on the meta device nothing is computed.

Every storage that an operation makes counts from then until nobody holds it. What kernels hold inside is not seen; the
attention is taken for one that keeps no scores, as all are that run here on a GPU.
"""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from deployments.model.families.family import Family
from deployments.model.rows.cache import DecodeAttention, Piece, PrefillAttention, RowCache, Segment
from deployments.model.settings import RowSettings


@dataclass(frozen=True, slots=True)
class Steps:
    """Bytes that each kind of work allocates at its fullest, and gives back when it is done."""

    prefill: int
    decode: int
    vision: int


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Counts what is alive of that which operations make; ``peak`` is the most there was at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: dict[int, tuple[weakref.ref[Any], int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tree_iter((args, kwargs)):
            self._note(tensor, is_new=False)  # a weight, say
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            self._note(tensor, is_new=True)
        self.peak = max(self.peak, self.live)
        return made

    def beside(self, tensors: Iterable[torch.Tensor]) -> int:
        """Bytes of what is alive and not in these."""
        gone = {tensor.untyped_storage()._cdata for tensor in tensors}
        return sum(size for key, (_, size) in self._known.items() if key not in gone)

    def _note(self, tensor: Any, is_new: bool) -> None:
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes() if is_new else 0
        if key in self._known:
            return
        self.live += size

        def gone(_: Any) -> None:
            self.live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone), size


class _FusedAttention(TorchFunctionMode):
    """On the meta device torch takes the way that keeps all scores."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


def peak(work: Callable[[], Any]) -> int:
    """Bytes that ``work`` allocates beside what there is, at the moment when it holds most of them."""
    live = _Live()
    with torch.inference_mode(), _FusedAttention(), live:
        made = work()
        del made
    return live.peak


def steps(family: Family, settings: RowSettings, dtype: torch.dtype, device: torch.device) -> Steps:
    """The largest prefill, decode step and lot of pictures that ``settings`` allow, of a model on the meta device."""
    cache = RowCache(family.kv_shape, settings.rows, settings.length, dtype, device)
    return Steps(
        prefill=peak(lambda: largest_prefill(family, cache, settings)),
        decode=peak(lambda: largest_decode(family, cache)),
        vision=peak(lambda: largest_vision(family, settings)),
    )


def largest_prefill(family: Family, cache: RowCache, settings: RowSettings) -> torch.Tensor:
    """The end of a prompt that fills its row, beside as many tokens of others as a step takes."""
    device, tokens = cache.kv.device, min(settings.prefill_tokens, settings.length)
    pieces = [Piece(0, settings.length - tokens, tokens)]
    hidden = torch.empty(tokens, family.widths.hidden, dtype=cache.kv.dtype, device=device)
    positions = torch.zeros(3, tokens, dtype=torch.int64).to(device)
    done = family.hidden(torch.cat([hidden[:tokens]]), positions, PrefillAttention(cache, pieces))
    return family.logits(done[-1:]).log_softmax(-1)


def largest_decode(family: Family, cache: RowCache) -> torch.Tensor:
    """Every row full, and every one of them the beam of some search."""
    device, rows = cache.kv.device, cache.rows
    tokens, places, columns, positions = torch.zeros(4, rows, dtype=torch.int64).to(device)
    attention = DecodeAttention(cache, places, columns, [Segment(0, 0, rows, cache.length)])
    logits = family.logits(family.hidden(family.embed(tokens, ()), positions.expand(3, -1), attention))
    return logits.log_softmax(-1) + torch.zeros(rows, 1).to(device)


def largest_vision(family: Family, settings: RowSettings) -> list[torch.Tensor]:
    """Pictures of as many visual tokens as a lot of them has."""
    return family.features(family.largest(min(settings.prefill_tokens, settings.length)))


def held_beside(build: Callable[[], Family]) -> tuple[Family, int]:
    """The family that ``build`` takes a model apart into, and the bytes that it holds beside the model's weights."""
    live = _Live()
    with torch.no_grad(), live:
        family = build()
    return family, live.beside(family.weights)
