"""The graph: Ingress → Preprocessor → Model, bound from settings. ``serve run`` imports ``serve_app.graph:build``."""

# No `from __future__ import annotations` here: Serve reads the builder's annotation as a class, and would hand over a
# plain dict without it.
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import RequestRouterConfig

from deployments.ingress.deployment import ChatSettings, Ingress
from deployments.model.settings import ModelSettings
from deployments.preprocess.deployment import Preprocessor
from deployments.preprocess.safety.settings import SafetySettings
from deployments.routing import PictureRouter
from serve_app.proxy import demand_own_port
from serve_app.settings import ROOT, AppSettings, deployment_of
from serve_app.startable import check_startable

# A replica without num_gpus still sees every GPU of its node (Ray #62492), and could allocate on it.
CPU_ONLY = {"num_cpus": 0.2, "runtime_env": {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}}


def build(settings: AppSettings) -> serve.Application:
    """The bound application. Structure comes from ``settings``; operational knobs from each ``user_config``."""
    demand_own_port()
    loaded_from, *more = (
        model.model_copy(update={"checkpoint": absolute(model.checkpoint)})
        for model in (settings.model, *settings.more_models)
    )
    safety = located(settings.preprocess.safety)
    for model in (loaded_from, *more):
        check_startable(model, safety, nodes_in_cluster())
    from deployments.model.deployment import Model  # imports torch, which the other parts do without

    ingress: Any = serve.deployment(name="Ingress", ray_actor_options=CPU_ONLY)(serve.ingress()(Ingress))
    preprocessor: Any = serve.deployment(name="Preprocessor", ray_actor_options=CPU_ONLY)(Preprocessor)
    gpus = gpus_in_cluster()

    def bound(name: str, loaded: ModelSettings) -> serve.Application:
        deployment: Any = serve.deployment(
            name=name,
            ray_actor_options=model_ticket(loaded, gpus),
            request_router_config=RequestRouterConfig(request_router_class=PictureRouter),
        )(Model)
        application: serve.Application = deployment.bind(loaded)
        return application

    samples = settings.ingress.samples and absolute(settings.ingress.samples)
    ingress_settings = settings.ingress.model_copy(update={"samples": samples})
    preprocess_settings = settings.preprocess.model_copy(update={"safety": safety})
    return ingress.bind(
        preprocessor.bind(preprocess_settings),
        bound("Model", loaded_from),
        ingress_settings,
        settings.model.name,
        safety.names,
        ChatSettings(settings.wecom, settings.store, ROOT) if settings.wecom is not None else None,
        {one.name: bound(deployment_of(one), one) for one in more},
    )


def located(safety: SafetySettings) -> SafetySettings:
    """The settings with every path absolute."""
    paths = {name: absolute(path) for name in safety.names if isinstance(path := getattr(safety, name), str)}
    clip = safety.clip and safety.clip.model_copy(update={"folder": absolute(safety.clip.folder)})
    return safety.model_copy(update={**paths, "clip": clip})


def nodes_in_cluster() -> int:
    """Nodes of the cluster that this process is connected to; 1 without one."""
    return sum(node["Alive"] for node in ray.nodes()) if ray.is_initialized() else 1


def gpus_in_cluster() -> float:
    """GPUs of the cluster that this process is connected to, as Ray counts them."""
    return float(ray.cluster_resources().get("GPU", 0)) if ray.is_initialized() else 0.0


def model_ticket(settings: ModelSettings, cluster_gpus: float) -> dict[str, float]:
    """The model replica's scheduling ticket: the configured fraction of a GPU where there is one to have.

    ``ray_actor_options`` of the Model in a config file replaces this whole.
    """
    wants_gpu = settings.device == "cuda" or (settings.device == "auto" and cluster_gpus > 0)
    gpu = {"num_gpus": settings.gpu_fraction} if wants_gpu else {}
    return {"num_cpus": settings.num_cpus, **gpu}


def absolute(path: str) -> str:
    """A path under ``./`` made absolute from the folder that holds the packages, ``~`` expanded; the rest as it is."""
    return str((ROOT / path).resolve()) if path.startswith("./") else str(Path(path).expanduser())
