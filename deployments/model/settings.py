"""What a model replica loads (a change rolls the replicas) and how it decodes (a change is live)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "bfloat16", "float32"]
Quantization = Literal["none", "nf4"]


class ModelSettings(BaseModel):
    """Structure: which checkpoint, in which precision, on what.

    ``checkpoint`` is a folder when it starts with ``/``, ``./`` or ``~`` (``./`` is relative to the folder that holds
    ``serve_app``), else the name of a repository on the Hugging Face hub.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: str = Field("./demo/checkpoint", min_length=1)
    revision: str | None = Field(None, description="commit or tag of a hub checkpoint")
    name: str = Field("tuwen-demo", min_length=1, description="the model's name in answers and on /v1/models")
    device: Device = Field("auto", description="auto: a GPU if the cluster has one, else the CPU")
    dtype: Dtype = Field("auto", description="auto: bfloat16 on a GPU, float32 on the CPU")
    quantization: Quantization = "none"
    engine: Literal["reference"] = "reference"
    gpu_fraction: float = Field(0.5, gt=0, le=1, description="share of one GPU that a replica's ticket takes")
    num_cpus: float = Field(0.2, ge=0, description="logical CPUs of a replica's ticket")
    threads: int = Field(0, ge=0, description="torch threads on the CPU; 0: one a core")


class ModelKnobs(BaseModel):
    """Decoding. ``level`` is the fixed level of service: ``full`` searches with beams, ``fast`` decodes greedily."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Literal["full", "fast"] = "full"
    beam_width: int = Field(4, ge=2, le=16)
    length_penalty: float = Field(1.0, ge=0, le=4)
    early_stopping: bool = False
    default_max_new_tokens: int = Field(256, ge=1)
    max_new_tokens: int = Field(1024, ge=1, description="the most that a request may ask for")
    system_prompt: str = ""
    enable_thinking: bool = False
