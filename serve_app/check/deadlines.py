"""Times that must lie within one another: the ingress's deadline within the fence, the parts of a request within it."""

from collections.abc import Iterator

from serve_app.check.problems import Problem
from serve_app.check.view import App, contradiction

DEADLINE = "user_config.request_timeout_s"
FENCE = "http_options.request_timeout_s"
GRACE = "graceful_shutdown_timeout_s"


def fence_rules(app: App) -> Iterator[Problem]:
    """The proxy's own end of a request, which knows nothing of our errors."""
    deadline, fence = app.ingress[DEADLINE], app.top[FENCE]
    if fence is not None and deadline >= fence:
        text = (
            f"request_timeout_s: {deadline:g} of the Ingress is not below Serve's {FENCE}: {fence:g}: a slow answer is "
            "cut off by Serve, in a shape that no client of ours knows"
        )
        yield from contradiction([(app.ingress, DEADLINE), (app.top, FENCE)], text, warning=False)


def part_rules(app: App) -> Iterator[Problem]:
    """Parts of a request that may take as long as all of it: their own error is never told."""
    deadline = app.ingress[DEADLINE]
    parts = [
        (app.ingress, "user_config.body_grace_s", "a body that stalls"),
        (app.ingress, "user_config.fetch.timeout_s", "a slow download"),
        (app.preprocessor, "user_config.decode_timeout_s", "a picture that is slow to decode"),
        (app.args, "ingress.cache.timeout_s", "a cache that hangs"),
    ]
    for part, keys, what in parts:
        name, limit = keys.rpartition(".")[2], part[keys]
        if limit >= deadline:
            text = (
                f"{name}: {limit:g} is not below the Ingress's request_timeout_s: {deadline:g}: {what} takes the "
                "whole deadline, and the caller never learns the reason"
            )
            yield from contradiction([(part, keys), (app.ingress, DEADLINE)], text)


def grace_rules(app: App) -> Iterator[Problem]:
    """Time to finish for a replica that goes, against what it may still be working on."""
    deadline, decode_s = app.ingress[DEADLINE], app.preprocessor["user_config.decode_timeout_s"]
    for name, work_s in (("Ingress", deadline), ("Preprocessor", decode_s), ("Model", deadline)):
        part = app.deployments[name]
        grace = part[GRACE]
        if grace < work_s:
            text = (
                f"{GRACE}: {grace:g} of the {name} is less than the {work_s:g} s that a request may take there: "
                "requests on a replica that goes are broken off"
            )
            limit = (
                (app.preprocessor, "user_config.decode_timeout_s") if work_s is decode_s else (app.ingress, DEADLINE)
            )
            yield from contradiction([(part, GRACE), limit], text)


RULES = (fence_rules, part_rules, grace_rules)
