"""Where what must last is kept. Importing this imports no database."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SCHEMES = ("sqlite:///", "postgresql://", "postgresql+psycopg://")


def _checked_url(url: str) -> str:
    if not url.startswith((*SCHEMES, "$")):
        raise ValueError("must start with sqlite:/// or postgresql://")
    return url


StoreUrl = Annotated[str, AfterValidator(_checked_url)]


class StoreSettings(BaseModel):
    """One file of this machine, or by URL a PostgreSQL that all replicas share; opened only by what needs it.

    ``${NAME}`` in the URL is taken from the environment, where its password belongs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: StoreUrl = Field("sqlite:///./var/tuwen.db", description="sqlite:///./file.db, or postgresql://user@host/name")
    connections: int = Field(8, ge=1, le=64, description="of one replica to a PostgreSQL")
