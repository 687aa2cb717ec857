"""What a model replica loads (a change rolls the replicas) and how it decodes (a change is live)."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployments.checkpoints import CheckpointError as CheckpointError
from deployments.contract import Level
from deployments.model.ladder import LadderKnobs, Rules

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "bfloat16", "float32"]
Quantization = Literal["none", "nf4", "nf4+vision"]
"""nf4 leaves the vision tower as it is, nf4+vision does not; neither touches embedding and head."""


class RowSettings(BaseModel):
    """The row engine's size: how many hypotheses at a time, how long each may grow, and what it keeps of pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(16, ge=1, description="hypotheses at a time: a beam search holds a row for each of its beams")
    length: int = Field(2048, ge=16, description="tokens of a row: prompt, pictures included, and answer")
    bucket: int = Field(64, ge=1, description="what the number of KV columns looked at is rounded up to")
    waiting: int = Field(256, ge=1, description="requests that may wait for rows; more are refused as overload")
    prefill_tokens: int = Field(2048, ge=1, description="tokens of a step: of running rows, and of pieces of prompts")
    collapse: bool = Field(True, description="whether beam searches give their rows up to those who wait")
    prefix_store_mb: int = Field(256, ge=0, description="KV of prompts up to their picture; 0: none is kept")
    cuda_graphs: bool = Field(True, description="replay decode steps from CUDA graphs, captured at start; GPU only")
    feature_store_mb: int = Field(64, ge=0, description="vision features of pictures; 0: none are kept")

    @model_validator(mode="after")
    def _a_step_holds_its_rows(self) -> Self:
        if self.prefill_tokens <= self.rows:
            raise ValueError(
                f"prefill_tokens: {self.prefill_tokens} leaves no room for prompts beside rows: {self.rows}: "
                "each running row takes one of them"
            )
        return self


class ModelSettings(BaseModel):
    """Structure: which checkpoint, in which precision, on what.

    ``checkpoint`` is a folder when it starts with ``/``, ``./`` or ``~`` (``./`` is relative to the folder that holds
    ``serve_app``), else the name of a repository on the Hugging Face hub.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: str = Field("./demo/checkpoint", min_length=1)
    revision: str | None = Field(None, description="commit or tag of a hub checkpoint")
    name: str = Field("tuwen-demo", pattern=r"\S", description="the model's name in answers and on /v1/models")
    device: Device = Field("auto", description="auto: a GPU if the cluster has one, else the CPU")
    dtype: Dtype = Field("auto", description="auto: bfloat16 on a GPU, on a CPU the faster one, as measured at start")
    quantization: Quantization = "none"
    engine: Literal["reference", "rows"] = Field(
        "rows",
        description="rows: continuous batching; reference: model.generate, one request at a time, the yardstick",
    )
    rows: RowSettings = RowSettings()
    gpu_fraction: float = Field(0.5, gt=0, le=1, description="share of one GPU that a replica's ticket takes")
    num_cpus: float = Field(0.2, ge=0, description="logical CPUs of a replica's ticket")
    threads: int = Field(0, ge=0, description="CPU threads, shared by decoding and vision tower; 0: one a core")


class ModelKnobs(BaseModel):
    """Decoding. ``level`` is the best level of service: ``full`` searches with beams, ``fast`` decodes greedily."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Literal["full", "fast"] = "full"
    ladder: LadderKnobs | None = Field(LadderKnobs(), description="when to answer less well; null: at one level always")
    admission: bool = Field(True, description="refuse at once what cannot be answered within its deadline")
    beam_width: int = Field(4, ge=2, le=16)
    length_penalty: float = Field(1.0, ge=0, le=4)
    early_stopping: bool | Literal["never"] = Field(
        False, description="end beam searches at enough answers (true), when better ones are unlikely, or never before"
    )
    default_max_new_tokens: int = Field(256, ge=1)
    max_new_tokens: int = Field(1024, ge=1, description="the most that a request may ask for")
    system_prompt: str = ""
    enable_thinking: bool = False

    @property
    def rules(self) -> Rules:
        """What decides who is let in, and at which level."""
        return Rules(Level(self.level), self.ladder, self.admission)

    @model_validator(mode="after")
    def _default_within_most(self) -> Self:
        # A default that nobody has set follows a lower bound by itself.
        given = "default_max_new_tokens" in self.model_fields_set
        if given and self.default_max_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"default_max_new_tokens: {self.default_max_new_tokens} is more than "
                f"max_new_tokens: {self.max_new_tokens}"
            )
        return self
