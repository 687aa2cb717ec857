"""Who may ask, and what replicas that share nothing tell them."""

from collections.abc import Iterator
from ipaddress import ip_address

from serve_app.check.problems import Problem
from serve_app.check.view import App, contradiction

HOST = "http_options.host"
CACHE_URL = "ingress.cache.url"


def door_rules(app: App) -> Iterator[Problem]:
    """Other machines may ask, and nobody is asked for a key."""
    host = app.top[HOST]
    if app.top["proxy_location"] == "Disabled":
        yield app.top.problem("proxy_location", "no proxy runs: nobody reaches the service over HTTP", warning=True)
        return
    if _is_loopback(host):
        return
    if not app.ingress["user_config.api_key_sha256"] and not app.ingress["user_config.allow_open"]:
        text = (
            f"every machine that reaches {host} could ask without a key: set the Ingress's api_key_sha256, "
            "or host: 127.0.0.1, or allow_open: true (and allowed_hosts, for its names) if that is meant"
        )
        yield app.top.problem(HOST, text)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def replica_rules(app: App) -> Iterator[Problem]:
    """What lives in the memory of one ingress replica is not known to another."""
    scaling, count = app.ingress.values.get("autoscaling_config"), app.ingress.values.get("num_replicas")
    most = scaling["max_replicas"] if isinstance(scaling, dict) else count
    if isinstance(most, int) and most > 1:
        lost = "GET /v1/requests/{id} finds a record only on the replica that answered"
        if app.args[CACHE_URL] is None:
            lost += ", and answers kept are kept by each alone (args.ingress.cache.url shares them)"
        places = [(app.ingress, "autoscaling_config"), (app.ingress, "num_replicas")]
        yield from contradiction(places, f"up to {most} replicas of the Ingress, with records in memory: {lost}")


RULES = (door_rules, replica_rules)
