"""How many replicas of each deployment: by what is asked for, at the best level, whatever becomes of it meanwhile.

Standard library only: Serve ships this module by value to its controller, where it runs ten times a second. A policy
that raises stops the controller's work on every application, so this one never does. The config's
``autoscaling_policy`` of the application leads here; delays and bounds are Serve's own, deployment by deployment.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger("ray.serve")

OFFERED, ANSWERS = "offered_per_s", "answers_per_s"
"""What replicas report: requests a second that were asked of them, or of whoever turned them away on their account;
answers a second that one gives while requests wait (0: it has not been seen yet)."""
SLACK = 0.1
"""A replica goes when the rest would have this share of their room left."""


class Scaling:
    """Called with the contexts of an application's deployments, by id; returns how many replicas each should have.

    ``full_cost`` is what an answer at the best level costs beside a greedy one (C1 / C, as ``benchmarks.load`` measures
    it), ``busy`` the share of its time that a replica is to work, ``models_per_preprocessor`` how many model replicas
    one preprocessor serves, ``ingress_per_s`` how many requests a second an ingress replica is to take.
    """

    def __init__(
        self,
        full_cost: float = 2.0,
        busy: float = 0.8,
        models_per_preprocessor: float = 2.0,
        ingress_per_s: float = 100.0,
    ) -> None:
        self.full_cost, self.busy = full_cost, busy
        self.models_per_preprocessor, self.ingress_per_s = models_per_preprocessor, ingress_per_s

    def __call__(self, contexts: Mapping[Any, Any]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        try:
            return self._decided(contexts), {}
        except Exception:
            logger.warning("the autoscaling policy failed: replicas stay as many as they are", exc_info=True)
            return {}, {}

    def _decided(self, contexts: Mapping[Any, Any]) -> dict[Any, int]:
        by_name = {context.deployment_name: context for context in contexts.values()}
        models = {name: self._models(context) for name, context in by_name.items() if _is_model(name)}
        wanted: dict[str, float | None] = {**models, "Ingress": self._ingresses(by_name.get("Ingress"))}
        if models:
            served = sum(models.values()) / self.models_per_preprocessor
            wanted["Preprocessor"] = max(served, _by_queue(by_name.get("Preprocessor")))
        return {
            key: steady(need, context.target_num_replicas)
            for key, context in contexts.items()
            if (need := wanted.get(context.deployment_name)) is not None and math.isfinite(need)
        }

    def _models(self, context: Any) -> float:
        """Replicas' worth of demand at the best level; by the requests there are, where no replica knows its pace."""
        reported = context.aggregated_metrics or {}
        paces = [pace for pace in reported.get(ANSWERS, {}).values() if pace > 0]
        if not paces:
            return _by_queue(context)
        offered = sum(reported.get(OFFERED, {}).values())
        return needed(offered, sum(paces) / len(paces), self.full_cost, self.busy)

    def _ingresses(self, context: Any) -> float | None:
        if context is None:
            return None
        offered: float = sum((context.aggregated_metrics or {}).get(OFFERED, {}).values())
        return offered / self.ingress_per_s


def _is_model(deployment: str) -> bool:
    """The first one, or one of those beside it."""
    return deployment == "Model" or deployment.startswith("Model-")


def needed(offered_per_s: float, answers_per_s: float, full_cost: float, busy: float) -> float:
    """Replicas that would answer all of it at the best level."""
    return offered_per_s * full_cost / (answers_per_s * busy)


def steady(need: float, target: int) -> int:
    """As many replicas as are needed; one fewer than there are only where the rest would have room to spare."""
    more = max(1, math.ceil(need - 1e-6))
    return more if more > target else max(more, min(target, math.ceil(need / (1 - SLACK) - 1e-6)))


def _by_queue(context: Any) -> float:
    """Serve's own formula: ongoing requests, running and queued, by the target of one replica."""
    return 0.0 if context is None else context.total_num_requests / context.config.get_target_ongoing_requests()
