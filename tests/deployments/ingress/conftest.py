"""The HTTP application over fakes at its two seams, without Ray."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from deployments.contract import (
    ANY_SIZE,
    OVERVIEW,
    Answer,
    Level,
    Load,
    ModelInfo,
    Prepared,
    PreprocessInfo,
    Question,
    Usage,
    View,
)
from deployments.ingress.download.settings import FetchKnobs
from deployments.ingress.http.app import create_app
from deployments.ingress.http.border import unread
from deployments.ingress.pipeline import Pipeline
from deployments.ingress.records import MemoryRecords

PREPARED = Prepared(
    tiles=(),
    picture="digest",
    sizes=((112, 112),),
    places=(OVERVIEW,),
    boxes=((0, 0, 100, 100),),
    size=(100, 100),
    source_format="PNG",
    source_size=(100, 100),
    preprocess_ms=3.0,
)
INFO = ModelInfo("tuwen-test", "cpu", "float32", "none", 1, "reference", Level.FULL, "serving", 9000, 4, 8)


@dataclass
class FakePreprocessor:
    """Accepts everything, or raises what ``faults`` holds, first one first. Below ``full`` it shows ``below``."""

    faults: list[Exception] = field(default_factory=list)
    calls: int = 0
    levels: list[Level] = field(default_factory=list)
    prepared: Prepared = PREPARED
    below: Prepared = PREPARED
    before: Callable[[], object] | None = None
    views: list[View] = field(default_factory=list)

    async def prepare(
        self, data: bytes, level: Level, deadline: float, most_tokens: int | None, view: View
    ) -> Prepared:
        self.calls += 1
        self.levels.append(level)
        self.views.append(view)
        if self.before is not None:
            await self.before()  # type: ignore[misc]
        if self.faults:
            raise self.faults.pop(0)
        shown = self.prepared if level is Level.FULL else self.below
        return replace(shown, picture=sha256(data).hexdigest())

    async def info(self) -> PreprocessInfo:
        return PreprocessInfo(("JPEG", "PNG"), 1_000_000, 324, 5)


@dataclass
class FakeModel:
    """Echoes the question, or raises what ``faults`` holds, first one first; ``info_faults`` when asked what it is."""

    faults: list[Exception] = field(default_factory=list)
    info_faults: list[Exception] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    streams_closed: int = 0
    before_answer: Callable[[], object] | None = None
    breaks_after: int | None = None
    level: Level = Level.FULL
    serving: str = "serving"
    says: str = "echo {}"
    says_level: Level | None = None
    between_pieces: Callable[[], object] | None = None
    view: View = ANY_SIZE

    async def answer(self, prepared: Prepared, question: Question) -> Answer:
        self.questions.append(question)
        if self.before_answer is not None:
            await self.before_answer()  # type: ignore[misc]
        if self.faults:
            raise self.faults.pop(0)
        load = Load(0, 0, self.level)
        text = self.says.format(question.text)
        return Answer(text, self.says_level or self.level, "stop", Usage(20, 16, 4), 1.0, 7.0, 0, load, self.serving)

    async def stream(self, prepared: Prepared, question: Question) -> AsyncGenerator[str | Answer]:
        """The answer a character at a time; the fault, if there is one, comes after ``breaks_after`` of them."""
        try:
            faults, self.faults = self.faults, []
            answer = await self.answer(prepared, question)
            for place, character in enumerate(answer.text):
                if faults and place == (self.breaks_after or 0):
                    raise faults.pop(0)
                yield character
                if self.between_pieces is not None:
                    await self.between_pieces()  # type: ignore[misc]
            yield answer
        finally:
            self.streams_closed += 1

    async def answers(self, replica: str) -> bool:
        return True

    async def info(self) -> ModelInfo:
        if self.info_faults:
            raise self.info_faults.pop(0)
        return replace(INFO, level=self.level, serving=self.serving, view=self.view)


@dataclass
class FakeDownloader:
    """Gives ``files[url]``, or raises it."""

    files: dict[str, bytes | Exception] = field(default_factory=dict)
    fetched: list[tuple[str, int]] = field(default_factory=list)

    async def fetch(self, url: str, knobs: FetchKnobs, max_bytes: int) -> bytes:
        self.fetched.append((url, max_bytes))
        found = self.files[url]
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class Service:
    client: TestClient
    pipeline: Pipeline
    preprocessor: FakePreprocessor
    model: FakeModel
    downloader: FakeDownloader

    def knobs(self, **changed: object) -> None:
        self.pipeline.knobs = self.pipeline.knobs.model_copy(update=changed)


def served(prefix: str) -> Service:
    """The application as Serve calls it under this route prefix."""
    preprocessor, model, downloader = FakePreprocessor(), FakeModel(), FakeDownloader()
    pipeline = Pipeline(preprocessor, model, downloader, MemoryRecords(100), "tuwen-test")
    samples = Path(__file__).parents[3] / "demo" / "samples"
    app = create_app(pipeline, samples)
    client = TestClient(app, base_url=f"http://localhost{prefix}", root_path=prefix, raise_server_exceptions=False)
    return Service(client, pipeline, preprocessor, model, downloader)


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here goes on sending after an answer."""
    monkeypatch.setattr(unread, "LINGER_S", 0.01)


@pytest.fixture(params=["", "/tuwen"], ids=["at-the-root", "under-a-prefix"])
def service(request: pytest.FixtureRequest) -> Service:
    return served(request.param)
