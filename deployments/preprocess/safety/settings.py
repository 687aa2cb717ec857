"""Which safety checks run (structure) and what their verdicts lead to (knobs)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Action = Literal["block", "flag", "pass"]

UNCHECKED = "unchecked"
"""The label of a picture that was taken although a check failed."""

DEFAULT_ACTIONS: dict[str, Action] = {"blocked_picture": "block", "identity_card": "block", "bank_card": "block"}


def _checked_label(text: str) -> str:
    if not text or text != text.strip():
        raise ValueError("a label is a text without spaces around it")
    if text == UNCHECKED:
        raise ValueError(f"'{UNCHECKED}' marks what a failed check left out: `on_failure` says what is done about it")
    return text


def _over_defaults(actions: dict[str, Action]) -> dict[str, Action]:
    return DEFAULT_ACTIONS | actions


Label = Annotated[str, AfterValidator(_checked_label)]
Actions = Annotated[dict[Label, Action], AfterValidator(_over_defaults)]
Score = Annotated[float, Field(ge=0, le=1)]
Phrase = Annotated[str, Field(pattern=r"\S")]


class ClipSettings(BaseModel):
    """CLIP without training: a picture gets the label whose phrase it fits best, against ``otherwise``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str
    phrases: dict[Label, Phrase] = Field(min_length=1, description="by label, what a picture of that kind is called")
    otherwise: tuple[Phrase, ...] = Field(("a screenshot", "a photo of a thing", "a document"), min_length=1)


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

    actions: Actions = Field(
        DEFAULT_ACTIONS, description="by label; laid over the default ones, of which `pass` switches one off"
    )
    other_labels: Action = Field("pass", description="for the labels that `actions` does not name")
    thresholds: dict[Label, Score] = Field({}, description="by label, instead of `threshold`")
    threshold: Score = 0.5
    on_failure: Literal["open", "closed"] = Field(
        "closed", description="of a check: open takes the picture, flagged `unchecked`; closed refuses it"
    )
    cached_verdicts: int = Field(10_000, ge=0, description="pictures whose verdicts are remembered")
    cached_verdicts_mb: int = Field(16, ge=0, description="what they may take of memory")
