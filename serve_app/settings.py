"""The application's settings: only a composition, each part is owned by its deployment."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

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
    ingress: IngressSettings = IngressSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    store: StoreSettings = StoreSettings()
    wecom: WecomSettings | None = None


KNOBS: dict[str, type[BaseModel]] = {
    "Ingress": IngressKnobs,
    "Preprocessor": PreprocessKnobs,
    "Model": ModelKnobs,
}
"""``user_config`` of each deployment, by the deployment's name."""
