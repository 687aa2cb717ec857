"""The other deployments and the download as the pipeline sees them: seams, each with a real part and one for tests."""

from collections.abc import AsyncGenerator
from typing import Protocol

from deployments.contract import Answer, Level, ModelInfo, Prepared, PreprocessInfo, Question, View
from deployments.ingress.download.settings import FetchKnobs


class Downloader(Protocol):
    async def fetch(self, url: str, knobs: FetchKnobs, max_bytes: int) -> bytes:
        """Raises ImageUrlError, FetchFailed, ImageTooLarge, FetchTimeout, Overloaded."""
        ...


class Preprocessor(Protocol):
    async def prepare(
        self, data: bytes, level: Level, deadline: float, most_tokens: int | None, view: View
    ) -> Prepared:
        """Given up at ``deadline`` (seconds since the epoch), or when its caller is cancelled. A large picture gets
        fewer tiles rather than more than ``most_tokens`` visual tokens (None: as the knobs say). ``view`` is what the
        model wants to see of it.

        Raises ImageError for a bad picture, SafetyUnavailable, Overloaded, Unavailable, DeadlineExceeded.
        """
        ...

    async def info(self) -> PreprocessInfo: ...


class Model(Protocol):
    async def answer(self, prepared: Prepared, question: Question) -> Answer:
        """Raises DeadlineExceeded, EmptyAnswer, Overloaded, Unavailable."""
        ...

    def stream(self, prepared: Prepared, question: Question) -> AsyncGenerator[str | Answer]:
        """The answer's text as it comes, then the answer; raises what ``answer`` raises."""
        ...

    async def info(self) -> ModelInfo: ...

    async def answers(self, replica: str) -> bool:
        """Whether this replica is there at all; one that is not is passed over for a while. Bounded in time."""
        ...
