"""YAML as a tree of plain values in which each one knows its line, and keys given twice are kept, not lost."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"
CONTAINERS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
MALFORMED = (ValueError, LookupError, AttributeError, TypeError, OverflowError)
"""What PyYAML lets escape for a scalar that does not fit its tag, such as ``!!bool maybe`` or ``2024-13-45``."""


class YamlFault(Exception):
    """The text is not one plain YAML document; ``line`` is 1-based."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Repeat:
    """A key that its mapping holds already."""

    key: Any
    line: int
    first_line: int


@dataclass(frozen=True, slots=True)
class Yaml:
    """A value, on the line of its key (of itself in a list); ``children`` by key or index, empty for a scalar."""

    line: int
    value: Any
    children: dict[Any, "Yaml"] = field(default_factory=dict)
    repeats: tuple[Repeat, ...] = ()


def parse(text: str) -> Yaml:
    """The document in ``text``, aliases and merge keys followed. Raises ``YamlFault`` and nothing else."""
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        if root is None:
            raise YamlFault(1, "the file is empty")
        return _Reader().read(root, _line(root))
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        raise YamlFault(mark.line + 1 if mark else 1, f"not YAML: {fault.problem or fault.context}") from fault
    except yaml.reader.ReaderError as fault:
        line = text.count("\n", 0, fault.position) + 1
        raise YamlFault(line, f"not YAML: character #x{int(fault.character):04x} is not allowed") from fault
    except RecursionError as fault:
        raise YamlFault(1, "nested too deeply") from fault


def join(path: str, step: Any) -> str:
    """``path`` one key or one list index further."""
    if isinstance(step, int) and not isinstance(step, bool):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else str(step)


def all_repeats(root: Yaml, path: str = "") -> Iterator[tuple[str, Repeat]]:
    """Every key given twice anywhere, with the path of the mapping that holds it."""
    yield from ((path, repeat) for repeat in root.repeats)
    for step, child in root.children.items():
        yield from all_repeats(child, join(path, step))


class _Reader(yaml.constructor.SafeConstructor):
    """Turns PyYAML's nodes into ``Yaml``."""

    def __init__(self) -> None:
        super().__init__()
        self._done: dict[int, Yaml | None] = {}

    def read(self, node: yaml.Node, line: int) -> Yaml:
        """``node`` as a tree. Each node is read once: PyYAML resolves merge keys by rewriting the mapping."""
        if id(node) not in self._done:
            self._done[id(node)] = None
            self._done[id(node)] = self._fresh(node)
        done = self._done[id(node)]
        if done is None:
            raise YamlFault(line, "an alias stands inside its own anchor")
        return replace(done, line=line)

    def _fresh(self, node: yaml.Node) -> Yaml:
        if isinstance(node, yaml.ScalarNode):
            return Yaml(_line(node), self._scalar(node))
        if node.tag not in CONTAINERS:
            raise YamlFault(_line(node), f"the tag {node.tag} is not for a config")
        return self._mapping(node) if isinstance(node, yaml.MappingNode) else self._list(node)

    def _scalar(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise YamlFault(_line(node), "a key must be a plain text")
        try:
            return self.construct_object(node, deep=True)
        except MALFORMED as fault:
            raise YamlFault(_line(node), f"not YAML: {node.value!r} is not a valid {node.tag}") from fault

    def _list(self, node: yaml.Node) -> Yaml:
        children = {index: self.read(item, _line(item)) for index, item in enumerate(node.value)}
        return Yaml(_line(node), [child.value for child in children.values()], children)

    def _mapping(self, node: yaml.MappingNode) -> Yaml:
        repeats = self._repeats(node)
        self.flatten_mapping(node)
        # Merged keys come first, so that the mapping's own keys win.
        children = {self._scalar(key): self.read(item, _line(key)) for key, item in node.value}
        return Yaml(_line(node), {key: child.value for key, child in children.items()}, children, repeats)

    def _repeats(self, node: yaml.MappingNode) -> tuple[Repeat, ...]:
        own = [(self._scalar(key), _line(key)) for key, _ in node.value if key.tag != MERGE]
        seen: dict[Any, int] = {}
        repeats = []
        for key, line in own:
            if key in seen:
                repeats.append(Repeat(key, line, first_line=seen[key]))
            seen.setdefault(key, line)
        return tuple(repeats)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
