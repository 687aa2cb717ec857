"""The models of an application, each with a pipeline of its own, chosen by name."""

from collections.abc import Iterator

from deployments.errors import NotFound
from deployments.ingress.pipeline import Pipeline
from deployments.texts import quoted


class Models:
    """``first`` answers whoever names no model; names are those of the settings."""

    def __init__(self, first: Pipeline, *others: Pipeline) -> None:
        self.first = first
        self._by_name = {pipeline.model_name: pipeline for pipeline in (first, *others)}

    def __iter__(self) -> Iterator[Pipeline]:
        return iter(self._by_name.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    @property
    def told(self) -> str:
        """The names, for a message."""
        return " and ".join(self.names) + (" are" if len(self._by_name) > 1 else " is")

    def of(self, name: str | None) -> Pipeline:
        """Raises NotFound for a name that nobody here has."""
        if name is None:
            return self.first
        if name not in self._by_name:
            raise NotFound(f"the model {quoted(name)} is not served here; {self.told}")
        return self._by_name[name]
