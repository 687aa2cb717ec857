"""Names in Serve's and Ray's open mappings: environment variables, resources, accelerators. A typo there is silent."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ray import serve
from ray.util.accelerators import accelerators

from serve_app.check.levels import EMPTY, Level, problem_at
from serve_app.check.problems import Problem, hint, near

WELL_KNOWN = frozenset((
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "NVIDIA_VISIBLE_DEVICES",
    "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_ENABLE_HF_TRANSFER",
    "TRANSFORMERS_OFFLINE", "TRANSFORMERS_CACHE", "TOKENIZERS_PARALLELISM",
    "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TORCH_HOME", "TORCH_LOGS",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LD_LIBRARY_PATH", "LD_PRELOAD",
    "MALLOC_ARENA_MAX", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "PYTHONFAULTHANDLER",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR", "RAY_RUNTIME_ENV_HOOK",
    "RAY_DEDUP_LOGS", "RAY_COLOR_PREFIX", "RAY_memory_usage_threshold", "RAY_memory_monitor_refresh_ms",
    "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
))  # fmt: skip
"""Environment variables that replicas are commonly given; others are allowed unless they look like one of these."""
LIKENESS = 0.85
INSTALLERS = {
    "pip": ("packages", "pip_check", "pip_version", "pip_install_options"),
    "uv": ("packages", "uv_check", "uv_version", "uv_pip_install_options"),
}
"""Keys of the mappings with which a runtime environment installs packages."""
OWN_KEYS = {
    "CPU": "num_cpus",
    "GPU": "num_gpus",
    "memory": "memory",
    "object_store_memory": "no key of a replica",
    "num_cpus": "num_cpus",
    "num_gpus": "num_gpus",
}
"""What Ray does not take among custom resources, and the key for it."""


def environment_rules(level: Level) -> Iterator[Problem]:
    """Of a runtime environment: keys of its installers, and variables that nothing reads, as they are misspelt."""
    for installer, valid in INSTALLERS.items():
        asked = level.node.children.get(installer, EMPTY)
        for key in asked.children if isinstance(asked.value, dict) else ():
            if key not in valid:
                text = f"unknown key '{key}'{hint(key, valid)}"
                yield Problem(asked.children[key].line, f"{level.path}.{installer}", text)
    for name, child in level.node.children.get("env_vars", EMPTY).children.items():
        if strange := _strange_variable(str(name)):
            yield Problem(child.line, f"{level.path}.env_vars.{name}", strange)


def _strange_variable(name: str) -> str | None:
    if name.startswith("RAY_SERVE_"):
        known = _serve_variables()
        return None if name in known else f"Ray Serve reads no variable '{name}'{hint(name, known)}"
    meant = near(name, WELL_KNOWN, LIKENESS)
    if not meant or name in WELL_KNOWN or (name.startswith("RAY_") and not near(name, WELL_KNOWN, 0.95)):
        return None
    return f"nothing is known to read a variable '{name}' (did you mean '{meant[0]}'?)"


@cache
def _serve_variables() -> frozenset[str]:
    """Every variable of Serve's that its source names."""
    files = Path(serve.__file__).parent.rglob("*.py")
    text = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
    return frozenset(re.findall(r"\bRAY_SERVE_[A-Z0-9_]*[A-Z0-9]\b", text))


def ticket_rules(level: Level) -> Iterator[Problem]:
    """Of ``ray_actor_options``: what no node can offer, so that the replica would wait for ever."""
    given = level.node.children
    gpus = level.node.value.get("num_gpus")
    if _is_number(gpus) and gpus > 1 and gpus % 1:
        yield problem_at(level, "num_gpus", f"more than one GPU is a whole number of them, got {gpus}")
    kind = level.node.value.get("accelerator_type")
    known = {value for name, value in vars(accelerators).items() if name.isupper() or name.startswith("AMD_")}
    if isinstance(kind, str) and kind not in known:
        unsure = not near(kind, known)
        text = f"Ray knows no accelerator '{kind}'{hint(kind, known)}: replicas wait until a node says that it has one"
        yield problem_at(level, "accelerator_type", text, warning=unsure)
    if "resources" in given:
        yield from _resource_rules(level)


def _resource_rules(level: Level) -> Iterator[Problem]:
    resources = level.node.children["resources"]
    for name, child in resources.children.items():
        path = f"{level.path}.resources.{name}"
        if own := near(name, OWN_KEYS, LIKENESS):
            yield Problem(child.line, path, f"'{name}' is no custom resource: {own[0]} has a key: {OWN_KEYS[own[0]]}")
        elif not _is_number(child.value) or child.value < 0:
            yield Problem(child.line, path, "must be a number of at least 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def http_rules(level: Level) -> Iterator[Problem]:
    """Of ``http_options``: values that Serve's schema lets pass and the proxy cannot use."""
    for key, least, most in (("port", 1, 65535), ("request_timeout_s", 0, None), ("keep_alive_timeout_s", 0, None)):
        value = level.node.value.get(key)
        if _is_number(value) and (value < least or (most is not None and value > most) or value == 0):
            bound = f"between {least} and {most}" if most else f"greater than {least}"
            yield problem_at(level, key, f"must be {bound}, got {value}")
    root = level.node.value.get("root_path")
    if isinstance(root, str) and root and (not root.startswith("/") or root.endswith("/")):
        yield problem_at(level, "root_path", f"must start with a slash and not end with one, got '{root}'")
