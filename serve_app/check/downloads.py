"""Settings of downloads that another one rules out, so that they have no effect."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from deployments.ingress.download.addresses import METADATA
from deployments.ingress.download.settings import FetchKnobs
from serve_app.check.problems import Problem, hint, near
from serve_app.check.view import App

FETCH = "user_config.fetch"
HEADERS = ("User-Agent", "Referer", "Accept", "Accept-Language", "Cache-Control", "Origin", "From", "DNT")


def host_rules(app: App) -> Iterator[Problem]:
    """Hosts of downloads that another list of hosts rules out, so that the setting has no effect."""
    fetch = FetchKnobs.model_validate({key: app.ingress[f"{FETCH}.{key}"] for key in FetchKnobs.model_fields})
    if not fetch.allowed_hosts:
        return
    for host in app.ingress.items(f"{FETCH}.private_ranges"):
        if not fetch.allows(str(host).lower().removesuffix(".")):
            yield _excluded(app, "private_ranges", host, fetch)
    for pattern in app.ingress.items(f"{FETCH}.headers"):
        if not any(_overlap(str(pattern).lower(), allowed) for allowed in fetch.allowed_hosts):
            yield _excluded(app, "headers", pattern, fetch)


def _excluded(app: App, key: str, host: Any, fetch: FetchKnobs) -> Problem:
    text = f"allowed_hosts keeps downloads from '{host}'{hint(host, fetch.allowed_hosts)}: this has no effect"
    return app.ingress.problem(f"{FETCH}.{key}", text, item=host)


def _overlap(one: str, other: str) -> bool:
    """Whether some host is of both patterns."""
    pairs = list(zip(one.split("."), other.split("."), strict=False))
    return len(one.split(".")) == len(other.split(".")) and all("*" in pair or pair[0] == pair[1] for pair in pairs)


def range_rules(app: App) -> Iterator[Problem]:
    """Networks that are opened and closed at once, or opened without being closed."""
    closed = [*METADATA, *(ip_network(text) for text in app.ingress[f"{FETCH}.blocked_ranges"])]
    opened: dict[str, list[str]] = app.ingress[f"{FETCH}.private_ranges"]
    for host in app.ingress.items(f"{FETCH}.private_ranges"):
        networks = [ip_network(text) for text in opened.get(str(host).lower().removesuffix("."), [])]
        shut = [one for one in networks if any(_is_inside(one, other) for other in closed)]
        if shut:
            text = f"{shut[0]} is in blocked_ranges too, or holds a cloud's metadata: it stays closed"
            yield app.ingress.problem(f"{FETCH}.private_ranges", text, item=host)
        elif not networks or all(network.is_global for network in networks):
            text = "opens nothing: public addresses are reached anyway, and no others are named"
            yield app.ingress.problem(f"{FETCH}.private_ranges", text, warning=True, item=host)


def _is_inside(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.subnet_of(other)
    return isinstance(other, IPv6Network) and one.subnet_of(other)


def header_rules(app: App) -> Iterator[Problem]:
    """Names of request headers that look like a common one misspelt."""
    headers: dict[str, dict[str, str]] = app.ingress[f"{FETCH}.headers"]
    for pattern in app.ingress.items(f"{FETCH}.headers"):
        for name in headers.get(str(pattern).lower(), {}):
            meant = near(name, HEADERS, 0.8)
            if meant and name.lower() != meant[0].lower():
                text = f"no server knows a header '{name}' (did you mean '{meant[0]}'?)"
                yield app.ingress.problem(f"{FETCH}.headers", text, item=pattern)


RULES = (host_rules, range_rules, header_rules)
