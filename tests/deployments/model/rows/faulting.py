"""Faults at every allocation and every callback of a step of the row engine."""

from collections.abc import Callable

from deployments.model.rows import batch, cache, decode, prefill
from deployments.model.rows.beams import Beams, Greedy
from deployments.model.rows.prefill import Prefiller


class Injected(Exception):
    """Nobody raises it but a test."""


Places = Callable[[object], list[tuple[object, str]]]

SITES: dict[str, Places] = {
    # the model's
    "embed": lambda engine: [(engine.batch.prefiller.family, "embed")],
    "hidden": lambda engine: [(engine.batch.prefiller.family, "hidden")],
    "logits": lambda engine: [(engine.batch.prefiller.family, "logits")],
    "positions": lambda engine: [(engine.batch.prefiller.family, "positions")],
    "features": lambda engine: [(engine.batch.prefiller.family, "features")],
    # the rows'
    "spread": lambda engine: [(engine.batch.cache, "spread")],
    "reorder": lambda engine: [(engine.batch.cache, "reorder")],
    "copy": lambda engine: [(engine.batch.cache, "copy")],
    "clear": lambda engine: [(engine.batch.cache, "clear")],
    "save": lambda engine: [(engine.batch.cache, "save")],
    "restore": lambda engine: [(engine.batch.cache, "restore")],
    "prefill mask": lambda _: [(prefill, "PrefillAttention")],
    "decode mask": lambda _: [(cache.DecodeAttention, "_mask")],
    # the stores'
    "get features": lambda engine: [(engine.batch.features, "get")],
    "put features": lambda engine: [(engine.batch.features, "put")],
    "make room for features": lambda engine: [(engine.batch.features, "make_room")],
    "get prefix": lambda engine: [(engine.batch.prefiller.prefixes, "get")],
    "put prefix": lambda engine: [(engine.batch.prefiller.prefixes, "put")],
    "make room for prefix": lambda engine: [(engine.batch.prefiller.prefixes, "make_room")],
    # a search's
    "begin": lambda _: [(Prefiller, "begin")],
    "chunk": lambda _: [(Prefiller, "run")],
    "fed": lambda _: [(decode, "Fed")],
    "segments": lambda _: [(decode, "segments")],
    "forward": lambda engine: [(engine.batch, "forward")],
    "propose": lambda _: [(decode, "propose"), (prefill, "propose")],
    "score": lambda _: [(decode, "_scored")],
    "to host": lambda _: [(decode, "_to_host")],
    "beams": lambda _: [(batch, "Beams")],
    "extend": lambda _: [(Beams, "extend"), (Greedy, "extend")],
    "answer": lambda _: [(batch, "generation_of")],
    "tokenizer": lambda engine: [(engine._loaded.tokenizer, "decode")],
    # nobody's
    "clock": lambda engine: [(engine.batch, "_clock")],
    "plan": lambda _: [(batch, "plan")],
    "waiting": lambda _: [(batch, "Waiting")],
    "shares": lambda _: [(batch, "shares")],
    "look": lambda engine: [(engine.batch.pictures, "_look")],
    # of whoever asks
    "listener": lambda _: [],
    "callback": lambda _: [],
}


class Fault:
    """Raises ``fault`` at its ``at``-th call, counted over all that it watches."""

    def __init__(self, fault: BaseException, at: int) -> None:
        self.fault, self.at, self.calls = fault, at, 0

    @property
    def was_raised(self) -> bool:
        return self.calls >= self.at

    def watch(self, real):
        """``real``, with the fault before it."""

        def watched(*arguments, **more):
            self.calls += 1
            if self.calls == self.at:
                raise self.fault
            return real(*arguments, **more)

        return watched

    def inject(self, monkeypatch, engine, site):
        # The batch takes its searches for what they are: a class cannot be watched by another one's name.
        for owner, name in SITES[site](engine):
            if site == "beams":
                monkeypatch.setattr(Beams, "__init__", self.watch(Beams.__init__))
            else:
                monkeypatch.setattr(owner, name, self.watch(getattr(owner, name)))
