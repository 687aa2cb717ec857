"""The service on a cluster of its own: two nodes of one machine, in this process, so that either can go."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import ours
from serve_app.wait import wait

READY_S = 240.0
NO_DASHBOARD = "http://127.0.0.1:1"

Config = dict[str, Any]


@dataclass(slots=True)
class Place:
    """The service's config and address, its cluster, what each node has, and the node that can go."""

    config: Config
    url: str
    cluster: Any
    node: dict[str, int]
    spare: Any

    def deploy(self) -> None:
        """Declare what the config says, as ``serve run`` does."""
        from ray.serve._private.api import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(self.config), _blocking=False)

    def wait(self) -> None:
        """Until everything answers. Raises NotReady, DeploymentFailed."""
        wait(self.url, NO_DASHBOARD, READY_S)

    def lose_node(self) -> None:
        """The spare node goes as if its machine had died, and another one comes."""
        self.cluster.remove_node(self.spare, allow_graceful=False)
        self.spare = self.cluster.add_node(**self.node)


@contextmanager
def service_on(config: Config, **node: int) -> Iterator[Place]:
    """The service, ready, on two nodes that each have this, in the Makefile's environment."""
    os.environ.update(ours.environment())  # before Ray is imported: it reads it then
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=node)
    place = Place(config, f"http://127.0.0.1:{config['http_options']['port']}", cluster, node, cluster.add_node(**node))
    ray.init(address=cluster.address, log_to_driver=False, namespace="serve")
    try:
        started = ("proxy_location", "http_options", "controller_options")
        serve.start(**{name: config[name] for name in started})
        place.deploy()
        place.wait()
        yield place
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()


def of(config: Config, name: str) -> Config:
    """The part of one deployment."""
    found: Config = next(one for one in config["applications"][0]["deployments"] if one["name"] == name)
    return found
