"""Which family a checkpoint is of, told from its ``config.json`` alone, and without torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployments.checkpoints import CheckpointError
from deployments.contract import View
from deployments.model.families.glm4v9b import files as glm4v9b
from deployments.model.families.glm46v import files as glm46v

if TYPE_CHECKING:
    from deployments.model.families.family import Kind

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A family: the ``package`` that knows it, and what its files tell by themselves.

    ``view`` is what its models want to see of a picture, ``positions`` how long their texts may be, if it is said.
    """

    package: str
    title: str
    is_of: Callable[[Config], bool]
    inspect: Callable[[Path, Config], None]
    view: Callable[[Config], View]
    positions: Callable[[Config], int | None]


ENTRIES = tuple(
    Entry(str(module.__package__), module.TITLE, module.is_of, module.inspect, module.view, module.positions)
    for module in (glm46v, glm4v9b)
)


def entry_of(config: Config, checkpoint: object) -> Entry:
    """Raises CheckpointError for a family that is not served, with what it is and what is."""
    for entry in ENTRIES:
        if entry.is_of(config):
            return entry
    kind = f"type {config.get('model_type')!r}"
    if config.get("model_type") == glm4v9b.MODEL_TYPE:
        kind += " and has no vision_config, so it reads text only"
    raise CheckpointError(
        f"the config.json of checkpoint {checkpoint} is of {kind}; supported: {', '.join(e.title for e in ENTRIES)}"
    )


def kind_of(config: Config, checkpoint: object) -> "Kind":
    """How checkpoints of its family are read and asked. Imports torch. Raises as ``entry_of``."""
    kind: Kind = import_module(f"{entry_of(config, checkpoint).package}.kind").KIND
    return kind
