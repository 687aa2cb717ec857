"""The application's settings: only a composition, each part is owned by its deployment."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployments.ingress.settings import IngressKnobs, IngressSettings
from deployments.model.settings import ModelKnobs, ModelSettings
from deployments.preprocess.settings import PreprocessKnobs, PreprocessSettings
from deployments.store.settings import StoreSettings
from deployments.wecom.settings import WecomSettings

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the packages; paths that start with ``./`` in a config are relative to it."""


class AppSettings(BaseModel):
    """``args`` of the application in a Serve config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelSettings = ModelSettings()
    more_models: tuple[ModelSettings, ...] = Field(
        (), description="served beside it, chosen by `model` in a request; each is a deployment named Model-NAME"
    )
    ingress: IngressSettings = IngressSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    store: StoreSettings = StoreSettings()
    wecom: WecomSettings | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [self.model.name, *(one.name for one in self.more_models)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"more_models: two models have the name {twice[0]}, and requests choose by it")
        return self


KNOBS: dict[str, type[BaseModel]] = {
    "Ingress": IngressKnobs,
    "Preprocessor": PreprocessKnobs,
    "Model": ModelKnobs,
}
"""``user_config`` of each deployment, by the deployment's name."""


def deployment_of(model: ModelSettings) -> str:
    """The name of the deployment of one of several models."""
    return f"{MORE}{model.name}"


def knobs_of(deployment: str) -> type[BaseModel] | None:
    """What a deployment takes as ``user_config``; None for one that no application of ours has."""
    return ModelKnobs if deployment.startswith(MORE) else KNOBS.get(deployment)


MORE = "Model-"
"""Before the names of models beside the first."""
