"""The models of an application, each with a pipeline of its own, chosen by name."""

from collections.abc import Iterator

from deployments.errors import NotFound
from deployments.ingress.pipeline import Pipeline
from deployments.texts import quoted


class Models:
    """``first`` answers whoever names no model; names are those of the settings."""

    def __init__(self, first: Pipeline, *others: Pipeline) -> None:
        self.first, self._all = first, (first, *others)

    def __iter__(self) -> Iterator[Pipeline]:
        return iter(self._all)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(pipeline.model_name for pipeline in self._all)

    @property
    def told(self) -> str:
        """The names, for a message."""
        return " and ".join(self.names) + (" are" if len(self._all) > 1 else " is")

    def of(self, name: str | None) -> Pipeline:
        """Raises NotFound for a name that nobody here has."""
        for pipeline in self._all:
            if name in (None, pipeline.model_name):
                return pipeline
        raise NotFound(f"the model {quoted(str(name))} is not served here; {self.told}")
