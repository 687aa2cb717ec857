"""Which safety checks run (structure) and what their verdicts lead to (knobs)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Action = Literal["block", "flag", "pass"]


class ClipSettings(BaseModel):
    """CLIP without training: a picture gets the label whose phrase it fits best, against ``otherwise``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str
    phrases: dict[str, str] = Field(min_length=1, description="by label, what a picture of that kind is called")
    otherwise: tuple[str, ...] = Field(("a screenshot", "a photo of a thing", "a document"), min_length=1)


class SafetySettings(BaseModel):
    """The backends; null leaves one out. Paths may start with ``./`` as the model's checkpoint does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocklist: str | None = Field("./configs/blocklist.txt", description="file of digests of single pictures")
    cards: str | None = Field("./demo/cards/checkpoint", description="folder of the embedded card classifier")
    classifier: str | None = Field(None, description="folder of a transformers image classification checkpoint")
    clip: ClipSettings | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The backends that run, in their order."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)


class SafetyKnobs(BaseModel):
    """What is done about a label, from which score on, and what when a check fails."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    actions: dict[str, Action] = {"blocked_picture": "block", "identity_card": "block", "bank_card": "block"}
    other_labels: Action = Field("pass", description="for the labels that `actions` does not name")
    thresholds: dict[str, float] = Field({}, description="by label, instead of `threshold`")
    threshold: float = Field(0.5, ge=0, le=1)
    on_failure: Literal["open", "closed"] = Field(
        "closed", description="of a check: open takes the picture, flagged `unchecked`; closed refuses it"
    )
    cached_verdicts: int = Field(10_000, ge=0, description="pictures whose verdicts are remembered")
