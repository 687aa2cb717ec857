"""Labels of the safety checks: each that a knob names is one that a check can give, and each given leads somewhere."""

from collections.abc import Iterator

from deployments.preprocess.safety import blocklist, cards
from serve_app.check.paths import config_of
from serve_app.check.problems import Problem, hint, near
from serve_app.check.view import App, Unsound
from serve_app.check.world import World

SAFETY = "user_config.safety"
BACKENDS = "preprocess.safety"
FIXED = {"blocklist": (blocklist.LABEL,), "cards": cards.LABELS}
"""The labels of the checks that always give the same ones."""
LIKENESS = 0.8


def labels_by_backend(app: App) -> dict[str, tuple[str, ...] | None]:
    """What each check that runs may call a picture; None where that is not known here."""
    found: dict[str, tuple[str, ...] | None] = {}
    for backend in ("blocklist", "cards", "classifier", "clip"):
        try:
            where = app.args[f"{BACKENDS}.{backend}"]
        except Unsound:
            found[backend] = None
            continue
        if where is not None:
            found[backend] = _labels(backend, where, app.world)
    return found


def _labels(backend: str, where: str | dict[str, dict[str, str]], world: World) -> tuple[str, ...] | None:
    if isinstance(where, dict):
        return tuple(where["phrases"])
    return FIXED.get(backend) or _classes(where, world)


def _classes(folder: str, world: World) -> tuple[str, ...] | None:
    """The labels in the config of a transformers checkpoint, as far as it can be read here."""
    told = config_of(folder, world).get("id2label")
    return tuple(str(label) for label in told.values()) or None if isinstance(told, dict) else None


def label_rules(app: App) -> Iterator[Problem]:
    """Labels that no check gives."""
    by_backend = labels_by_backend(app)
    known = {label for labels in by_backend.values() for label in labels or ()}
    for mapping in ("actions", "thresholds"):
        for label in app.preprocessor.items(f"{SAFETY}.{mapping}"):
            if label not in known:
                yield from _strange(app, mapping, label, known, None in by_backend.values())


def _strange(app: App, mapping: str, label: str, known: set[str], may_exist: bool) -> Iterator[Problem]:
    off = next((backend for backend, labels in FIXED.items() if label in labels), None)
    if may_exist and off is None:
        meant = near(label, known, LIKENESS)
        if meant:
            text = f"is '{meant[0]}' meant? The labels of a check that cannot be read here are not known"
            yield app.preprocessor.problem(f"{SAFETY}.{mapping}", text, warning=True, item=label)
        return
    why = f": args.{BACKENDS}.{off}, which would, is null" if off else hint(label, known)
    yield app.preprocessor.problem(f"{SAFETY}.{mapping}", f"no safety check gives the label '{label}'{why}", item=label)


def unanswered_rules(app: App) -> Iterator[Problem]:
    """Labels that lead to nothing although nobody has said so."""
    if app.preprocessor.given(f"{SAFETY}.other_labels") is not None:
        return
    actions, other = app.preprocessor[f"{SAFETY}.actions"], app.preprocessor[f"{SAFETY}.other_labels"]
    for backend, labels in labels_by_backend(app).items():
        silent = [label for label in labels or () if label not in actions]
        if silent:
            shown = ", ".join(silent[:3]) + (f" and {len(silent) - 3} more" if len(silent) > 3 else "")
            text = (
                f"pictures that it calls {shown} are taken (other_labels: {other}): "
                "name each label in actions, or set other_labels"
            )
            yield app.args.problem(f"{BACKENDS}.{backend}", text, warning=True)


def threshold_rules(app: App) -> Iterator[Problem]:
    """A score that every picture reaches. The blocklist alone gives none to a picture that is not on it."""
    knobs = app.preprocessor[SAFETY]
    for backend, labels in labels_by_backend(app).items():
        for label in labels or () if backend != "blocklist" else ():
            blocks = knobs["actions"].get(label, knobs["other_labels"]) == "block"
            own = label in knobs["thresholds"]
            if blocks and knobs["thresholds"].get(label, knobs["threshold"]) == 0:
                place = f"{SAFETY}.thresholds" if own else f"{SAFETY}.threshold"
                text = "0 is reached by every picture: all of them would be refused"
                yield app.preprocessor.problem(place, text, item=label if own else None)


RULES = (label_rules, unanswered_rules, threshold_rules)
