"""What the ingress serves (a change rolls the replicas) and its limits (a change is live)."""

from hashlib import sha256
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from deployments.ingress.download.settings import FetchKnobs, HostPattern

CACHE_SCHEMES = ("redis://", "rediss://", "unix://")
NO_KEYS = {sha256(text).hexdigest() for text in (b"", b"\n")}


def _checked_digest(digest: str) -> str:
    if digest in NO_KEYS:
        raise ValueError('is the digest of an empty key: was the variable set in `printf %s "$KEY" | sha256sum`?')
    return digest


def _checked_cache_url(url: str) -> str:
    if not url.startswith((*CACHE_SCHEMES, "$")):
        raise ValueError(f"must start with {', '.join(CACHE_SCHEMES)}")
    return url


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), AfterValidator(_checked_digest)]
CacheUrl = Annotated[str, AfterValidator(_checked_cache_url)]


class CacheSettings(BaseModel):
    """Where answers are kept: in this process, or by ``url`` in a Redis or Valkey that all replicas share.

    ``${NAME}`` in the URL is taken from the environment, where its password belongs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    url: CacheUrl | None = Field(None, description="redis://host:6379/0, rediss:// or unix://; null: in this process")
    entries: int = Field(10_000, ge=0, description="answers kept in this process; 0 and no url: none are")
    memory_mb: int = Field(64, ge=1, description="what they may take of its memory, the least recently used out first")
    ttl_s: float = Field(3600.0, gt=0)
    timeout_s: float = Field(0.05, gt=0, le=5, description="what Redis may take; slower is a miss")


class IngressSettings(BaseModel):
    """Structure. ``samples`` is a folder of sample pictures for the page (``./`` as in the model's checkpoint)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: str | None = "./demo/samples"
    records: int = Field(10_000, ge=1, description="requests remembered for /v1/requests/{id}, newest first")
    records_mb: int = Field(32, ge=1, description="what they may take of memory; beyond it the oldest are forgotten")
    cache: CacheSettings = CacheSettings()


class IngressKnobs(BaseModel):
    """Limits, keys and texts. ``api_key_sha256`` empty: no key is asked for; else hex digests of the accepted keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    api_key_sha256: tuple[Sha256, ...] = ()
    allowed_hosts: tuple[HostPattern, ...] = Field(
        (), description="names that browsers may know the service by, besides loopback ones and bare addresses"
    )
    allow_open: bool = Field(False, description="whether other machines may ask although no key is asked for")
    max_body_bytes: int = Field(20 * 1024 * 1024, ge=1024)
    body_grace_s: float = Field(5.0, gt=0, description="how long a body may stall before its rate counts")
    min_body_bytes_per_s: int = Field(1024, ge=1, description="a body that arrives more slowly is refused")
    slow_uploads_per_client: int = Field(
        32, ge=0, description="bodies of one address below 64 kB/s at a time; 0: any number (a load balancer's)"
    )
    picture_memory_mb: int = Field(128, ge=1, description="pictures in memory on their way; the others wait on disk")
    max_question_chars: int = Field(2_000, ge=1)
    request_timeout_s: float = Field(30.0, gt=0, description="an answer that takes longer is not given")
    holding_text: str = Field("正在为您查询，请稍候", pattern=r"\S")
    mask_personal_numbers: bool = Field(False, description="in answers: identity and bank card numbers")
    fetch: FetchKnobs = FetchKnobs()
    retry_after_s: float = Field(5.0, gt=0, description="when to ask again, where no wait can be predicted")
    live_burst: bool = Field(False, description="whether whoever may ask may send a burst of sample questions (/live)")
