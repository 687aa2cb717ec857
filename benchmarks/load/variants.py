"""The service as it is, and what it is measured against: the same config without what this is about."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.peers import ours
from benchmarks.peers.services import free_port

Config = dict[str, Any]
Change = Callable[[Mapping[str, Config]], None]
"""Changes the deployments of a config, by name."""

MANY = 1_000_000


def _as_it_is(deployments: Mapping[str, Config]) -> None:
    pass


def _fast(deployments: Mapping[str, Config]) -> None:
    deployments["Model"]["user_config"]["level"] = "fast"


def _without_hysteresis(deployments: Mapping[str, Config]) -> None:
    """A ladder that follows its signal at once."""
    ladder = deployments["Model"]["user_config"].setdefault("ladder", {})
    ladder.update(calm_share=0.99, calm_s=0, dwell_s=0)


def _without_ladder(deployments: Mapping[str, Config]) -> None:
    """Only what the engine does within a step: beams collapse; deadlines are looked at."""
    deployments["Model"]["user_config"]["ladder"] = None


def _unbounded(deployments: Mapping[str, Config]) -> None:
    """Everybody is let in, and waits."""
    _without_ladder(deployments)
    deployments["Model"]["user_config"]["admission"] = False
    for name in ("Ingress", "Preprocessor", "Model"):
        deployments[name].update(max_ongoing_requests=MANY if name != "Preprocessor" else 8, max_queued_requests=-1)


def _bounded(deployments: Mapping[str, Config]) -> None:
    """As Serve's documentation has it: few at a time, a bounded queue before them, refusals beyond."""
    _without_ladder(deployments)
    deployments["Model"]["user_config"]["admission"] = False
    deployments["Model"].update(max_ongoing_requests=20, max_queued_requests=20)


CHANGES: dict[str, Change] = {
    "ladder": _as_it_is,
    "fast": _fast,
    "no-hysteresis": _without_hysteresis,
    "collapse-only": _without_ladder,
    "unbounded": _unbounded,
    "bounded": _bounded,
}
VARIANTS = tuple(CHANGES)


def config_of(variant: str) -> Config:
    """The shipped config with what the variant changes, on a port of its own."""
    config = ours.changed(ours.shipped(), free_port(), None)
    CHANGES[variant]({one["name"]: one for one in config["applications"][0]["deployments"]})
    return config
