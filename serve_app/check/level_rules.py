"""Rules across the keys of one level of the config, beyond what Serve's schema classes themselves demand."""

from collections.abc import Callable, Iterator
from typing import cast

from pydantic import BaseModel
from ray.serve._private.utils import validate_route_prefix
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from serve_app.check.levels import EMPTY, OURS, RUNTIME_ENV, Level, inner_levels, meant, problem_at
from serve_app.check.names import environment_rules, http_rules, ticket_rules
from serve_app.check.problems import Problem, hint, near
from serve_app.check.yaml_lines import join
from serve_app.settings import KNOBS, knobs_of

CPU_DEPLOYMENTS = ("Ingress", "Preprocessor")
GPU_MASK = ("ray_actor_options", "runtime_env", "env_vars", "CUDA_VISIBLE_DEVICES")
STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
ROUTER = "deployments.routing:PictureRouter"


def _number(level: Level, key: str) -> float | None:
    """The positive number given for ``key``, else its default; None for what is refused anyway or a misspelt key."""
    value = level.node.value.get(key, level.model.model_fields[key].default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e300
    return cast(float, value) if is_number and key not in meant(level) else None


def _autoscaling_rules(level: Level) -> Iterator[Problem]:
    given = level.node.children
    least, most = _number(level, "min_replicas"), _number(level, "max_replicas")
    # Against a default, Serve's own check knows better: the default is another one under `num_replicas: auto`.
    if "min_replicas" in given and "max_replicas" in given and least is not None and most is not None and least > most:
        yield problem_at(level, "min_replicas", f"min_replicas: {least:g} is more than max_replicas: {most:g}")
    interval, period = _number(level, "metrics_interval_s"), _number(level, "look_back_period_s")
    key = next((key for key in ("metrics_interval_s", "look_back_period_s") if key in given), None)
    if key and interval is not None and period is not None and interval >= period:
        yield problem_at(
            level, key, f"metrics_interval_s: {interval:g} must be less than look_back_period_s: {period:g}"
        )
    for key in ("upscale_delay_s", "downscale_delay_s"):
        delay = _number(level, key)
        if delay is not None and period is not None and delay < period and {key, "look_back_period_s"} & set(given):
            yield _delay_warning(level, key, delay, period)


def _delay_warning(level: Level, key: str, delay: float, period: float) -> Problem:
    at = key if key in level.node.children else "look_back_period_s"
    message = (
        f"{key}: {delay:g} is less than look_back_period_s: {period:g}: the number of replicas swings, as the load of "
        "before the last change still counts"
    )
    return problem_at(level, at, message, warning=True)


def _deployment_rules(level: Level) -> Iterator[Problem]:
    scaling = level.node.children.get("autoscaling_config", EMPTY)
    replicas = level.node.value.get("num_replicas")
    if isinstance(replicas, int) and scaling is not EMPTY and scaling.value is not None:
        yield problem_at(level, "autoscaling_config", f"cannot stand beside num_replicas: {replicas}; drop one of them")
    if scaling is not EMPTY and isinstance(scaling.value, dict):
        yield from _target_rule(level, inner_levels(level, "autoscaling_config", scaling)[0])
    strategy = level.node.value.get("placement_group_strategy")
    if isinstance(strategy, str) and strategy not in STRATEGIES:
        yield problem_at(
            level, "placement_group_strategy", f"no strategy is called '{strategy}'{hint(strategy, STRATEGIES)}"
        )
    if level.ours:
        yield from _name_rule(level)
        yield from _mask_rule(level)
        yield from _router_rule(level)


def _target_rule(level: Level, scaling: Level) -> Iterator[Problem]:
    # A limit that the file leaves out comes from the deployment's decorator, which is not known here.
    limit, target = _number(level, "max_ongoing_requests"), _number(scaling, "target_ongoing_requests")
    if limit is not None and target is not None and target > limit:
        message = f"target_ongoing_requests: {target:g} is more than max_ongoing_requests: {limit:g}"
        given = "target_ongoing_requests" in scaling.node.children
        yield problem_at(*((scaling, "target_ongoing_requests") if given else (level, "max_ongoing_requests")), message)


def _name_rule(level: Level) -> Iterator[Problem]:
    name = level.node.value.get("name")
    if isinstance(name, str) and knobs_of(name) is None:
        yield problem_at(level, "name", f"no deployment is named '{name}'{hint(name, list(KNOBS))}")


def _mask_rule(level: Level) -> Iterator[Problem]:
    """``ray_actor_options`` replaces the code's as a whole, and since Ray #62492 a CPU replica sees the GPUs."""
    if level.node.value.get("name") not in CPU_DEPLOYMENTS or GPU_MASK[0] not in level.node.children:
        return
    node, path = level.node, level.path
    for key in GPU_MASK:
        if key in node.children:
            node, path = node.children[key], join(path, key)
        elif near(key, [str(given) for given in node.children]):
            return  # misspelt, which is told already
    # Anything but a mapping that lacks the key, or a text other than "" under it, is refused by the models.
    if isinstance(node.value, dict) or (isinstance(node.value, str) and path.endswith(GPU_MASK[-1]) and node.value):
        yield Problem(node.line, path, f'needs {".".join(GPU_MASK[1:])}: "", else a CPU deployment sees the GPUs')


def _router_rule(level: Level) -> Iterator[Problem]:
    """``request_router_config`` replaces the code's as a whole, and with it the router that knows pictures."""
    router = level.node.value.get("request_router_config")
    if (
        isinstance(router, dict)
        and router.get("request_router_class") == ROUTER
        and router.get("request_router_kwargs")
    ):
        yield problem_at(level, "request_router_config", f"{ROUTER} takes no request_router_kwargs")
    if level.node.value.get("name") == "Model" and isinstance(router, dict) and "request_router_class" not in router:
        message = (
            "replaces the router that sends questions about one picture to the replica that knows it: "
            f"add request_router_class: {ROUTER}"
        )
        yield problem_at(level, "request_router_config", message, warning=True)


def _application_rules(level: Level) -> Iterator[Problem]:
    yield from _shared(level, "deployments", "name")
    path = level.node.value.get("import_path")
    if level.ours and path not in (OURS, OURS.replace(":", ".")):
        yield problem_at(level, "import_path", f"there is no application '{path}' (did you mean '{OURS}'?)")
    prefix = level.node.value.get("route_prefix")
    if level.ours and prefix is None and "route_prefix" in level.node.children:
        yield problem_at(level, "route_prefix", "null: nobody could reach the service, which answers over HTTP")
    try:  # Serve's schema takes any text here, and the deployment fails later
        validate_route_prefix(prefix if isinstance(prefix, str) else None)
    except ValueError as fault:
        yield problem_at(level, "route_prefix", str(fault).rstrip("."))


def _top_rules(level: Level) -> Iterator[Problem]:
    yield from _shared(level, "applications", "name")
    yield from _shared(level, "applications", "route_prefix")


def _shared(level: Level, where: str, key: str) -> Iterator[Problem]:
    """Problems where two mappings of a list have one value (or default) for a key that must tell them apart."""
    first: dict[str, int] = {}
    for one in inner_levels(level, where, level.node.children.get(where, EMPTY)):
        if not isinstance(one.node.value, dict) or key in meant(one):
            continue
        value = one.node.value.get(key, one.model.model_fields[key].default)
        line = one.node.children.get(key, one.node).line
        if isinstance(value, str) and value in first:
            path = join(one.path, key) if key in one.node.children else one.path
            yield Problem(line, path, f"{key} '{value}' is taken already (line {first[value]})")
        elif isinstance(value, str):
            first[value] = line


RULES: dict[type[BaseModel], Callable[[Level], Iterator[Problem]]] = {
    AutoscalingConfig: _autoscaling_rules,
    HTTPOptionsSchema: http_rules,
    RUNTIME_ENV: environment_rules,
    RayActorOptionsSchema: ticket_rules,
    DeploymentSchema: _deployment_rules,
    ServeApplicationSchema: _application_rules,
    ServeDeploySchema: _top_rules,
}
