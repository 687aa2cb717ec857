"""The ingress as a Serve deployment, and the other deployments as it sees them."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import ray
from ray import serve
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError, TaskCancelledError
from ray.serve._private.common import ReplicaID  # the name of a replica's actor
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from deployments.contract import Answer, Level, ModelInfo, Prepared, PreprocessInfo, Question, View
from deployments.errors import Overloaded, TuwenError, Unavailable
from deployments.ingress.answers.cache import AnswerCache, MemoryCache
from deployments.ingress.download.fetch import Fetcher
from deployments.ingress.http.app import create_app
from deployments.ingress.pipeline import Pipeline
from deployments.ingress.records import MemoryRecords
from deployments.ingress.settings import CacheSettings, IngressKnobs, IngressSettings
from deployments.ingress.uploads import ByteBudget
from deployments.knobs import LiveKnobs
from deployments.malloc import give_back_freed_memory
from deployments.routing import hanging
from deployments.scaling import OFFERED
from deployments.store.settings import StoreSettings
from deployments.wecom.settings import WecomSettings

if TYPE_CHECKING:
    from deployments.wecom.service import WecomService

logger = logging.getLogger("ray.serve")

INLINE_BYTES = 2**20
"""What is sent with a call is copied a few times on its way; more than this is cheaper mapped than copied."""

THERE_S = 3.0
"""Within so long a replica answers its health check, however busy: its engine has threads of their own."""

ANNOUNCE_AFTER_S = 1.0
"""Ray carries the lines of several processes to the console out of order by about this much."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """The chat platform's section, the database behind it, and the folder that relative paths start from."""

    wecom: WecomSettings
    store: StoreSettings
    root: Path


class Ingress:
    """Speaks HTTP; holds no model, no picture and no torch."""

    def __init__(
        self,
        preprocessor: DeploymentHandle,
        model: DeploymentHandle,
        settings: IngressSettings,
        model_name: str,
        safety: tuple[str, ...],
        chat: ChatSettings | None = None,
        others: Mapping[str, DeploymentHandle] = MappingProxyType({}),
    ) -> None:
        """``others`` are more models, by their names."""
        give_back_freed_memory()
        self._knobs = LiveKnobs("Ingress", IngressKnobs)
        self._downloads = ByteBudget(0)  # apart from the pipeline's: bodies half arrived must not wait for one another
        self._pipeline = Pipeline(
            RemotePreprocessor(preprocessor),
            RemoteModel(model),
            Fetcher(budget=self._downloads),
            MemoryRecords(settings.records, settings.records_mb * 2**20),
            model_name,
            answer_cache(settings.cache),
            safety,
        )
        self._beside = tuple(self._pipeline.beside(RemoteModel(other), name) for name, other in others.items())
        self._samples = Path(settings.samples) if settings.samples else None
        self._chat = chat_service(chat, self._pipeline, Fetcher(budget=self._downloads)) if chat else None
        self._announcing = [announcing(one, preprocessor) for one in (model, *others.values())]

    def __serve_build_asgi_app__(self) -> ASGIApp:
        if self._chat is None:
            return create_app(self._pipeline, self._samples, beside=self._beside)
        from deployments.wecom.routes import routers

        return create_app(self._pipeline, self._samples, routers(self._chat), self._beside)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """For ``deployments.scaling``: what is asked of this replica a second."""
        return {OFFERED: sum(one.traffic.offered_per_s() for one in (self._pipeline, *self._beside))}

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self._knobs.take(user_config)
        for pipeline in (self._pipeline, *self._beside):
            pipeline.knobs, pipeline.rejected = self._knobs.present, self._knobs.rejected
        self._downloads.limit = self._knobs.present.picture_memory_mb * 2**20


def chat_service(chat: ChatSettings, pipeline: Pipeline, downloader: Fetcher) -> "WecomService":
    """The bot beside the HTTP surface, at work. Raises what keeps it from being served."""
    from deployments.wecom.service import wecom_service  # a database and its tables: needed for nothing else

    service = wecom_service(chat.wecom, chat.store, chat.root, pipeline, downloader)
    service.start()
    return service


def announcing(model: DeploymentHandle, preprocessor: DeploymentHandle) -> asyncio.Task[None] | None:
    """A task that logs where the service answers as soon as the model does; None where no event loop runs."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop.create_task(_announce(model, preprocessor))


async def _announce(model: DeploymentHandle, preprocessor: DeploymentHandle) -> None:
    try:
        info: ModelInfo = await model.info.remote()
        taken: PreprocessInfo = await preprocessor.info.remote()
        address = await asyncio.to_thread(service_address)
    except Exception as fault:  # only the line is lost; /healthz and `wait` say what is wrong
        logger.warning("the service's readiness is not announced: %r", fault)
        return
    if unseen := unseen_tiles(info, taken):
        logger.warning(unseen)
    await asyncio.sleep(ANNOUNCE_AFTER_S)
    logger.info("ready: %s on %s (level %s) answers at %s", info.name, info.device, info.level, address)


def unseen_tiles(model: ModelInfo, taken: PreprocessInfo) -> str | None:
    """What the log says of tiles that the preprocessor's knobs ask for and the model does not take."""
    if model.view.tiles or taken.most_parts <= 1:
        return None
    return (
        f"{model.name} sees one picture a conversation: the Preprocessor's max_tiles has no effect for it, large "
        "pictures are shown whole (max_tiles: 0 says so)"
    )


def service_address() -> str:
    """The address of the page, from what Serve's controller knows."""
    name = serve.get_replica_context().app_name
    details = ray.get(ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve").get_serve_instance_details.remote())
    http, prefix = details["http_options"], details["applications"][name]["route_prefix"]
    return page_address(http, prefix)


def page_address(http_options: dict[str, Any], route_prefix: str | None) -> str:
    """Where a browser on this machine finds the page. A wildcard host stands for every address, so for loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http_options["host"], http_options["host"])
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if http_options.get("ssl_certfile") else "http"
    return f"{scheme}://{host}:{http_options['port']}{(route_prefix or '/').rstrip('/')}/"


def answer_cache(settings: CacheSettings) -> AnswerCache | None:
    """The cache that the settings ask for. Raises ValueError for a URL that cannot be read."""
    if settings.url is not None:
        from deployments.ingress.answers.redis_cache import RedisCache  # the extra `redis` is needed for nothing else

        return RedisCache(os.path.expandvars(settings.url), settings.ttl_s, settings.timeout_s)
    if not settings.entries:
        return None
    return MemoryCache(settings.entries, settings.ttl_s, most_bytes=settings.memory_mb * 2**20)


class RemotePreprocessor:
    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def prepare(
        self, data: bytes, level: Level, deadline: float, most_tokens: int | None, view: View
    ) -> Prepared:
        preparing = carrying(self._handle, len(data)).prepare.remote(data, level, deadline, most_tokens, view)
        return cast(Prepared, await called("the preprocessor", preparing))

    async def info(self) -> PreprocessInfo:
        return cast(PreprocessInfo, await called("the preprocessor", self._handle.info.remote()))


class RemoteModel:
    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def answer(self, prepared: Prepared, question: Question) -> Answer:
        answering = self._knowing(prepared).answer.remote(prepared.tiles, prepared.places, question)
        return cast(Answer, await called("the model", answering))

    async def stream(self, prepared: Prepared, question: Question) -> AsyncGenerator[str | Answer]:
        streaming = self._knowing(prepared).options(stream=True).stream
        items = aiter(streaming.remote(prepared.tiles, prepared.places, question))
        while True:
            try:
                yield cast(str | Answer, await called("the model", anext(items)))
            except StopAsyncIteration:
                return

    async def info(self) -> ModelInfo:
        return cast(ModelInfo, await called("the model", self._handle.info.remote()))

    async def answers(self, replica: str) -> bool:
        try:
            async with asyncio.timeout(THERE_S):
                await (await asyncio.to_thread(self._actor, replica)).check_health.remote()
        except (TimeoutError, RayTaskError) as fault:
            logger.warning("model replica %s does not answer, and is passed over for a while: %r", replica, fault)
            hanging.add(replica)
            return False
        except (ValueError, RayActorError):  # it has ended, and whoever waited for it has been told
            pass
        return True

    def _actor(self, replica: str) -> Any:
        """Raises ValueError where there is none. Serve's router cannot be told to ask a certain replica."""
        name = ReplicaID(replica, self._handle.deployment_id).to_full_id_str()
        return ray.get_actor(name, namespace="serve")

    def _knowing(self, prepared: Prepared) -> DeploymentHandle:
        """The replica that knows the picture, as the router finds it."""
        size = sum(tile.nbytes for tile in prepared.tiles)
        return carrying(self._handle, size).options(session_id=prepared.picture)


def carrying(handle: DeploymentHandle, size: int) -> DeploymentHandle:
    """For a call with so many bytes: many go through the object store of the machine, whatever way the others go."""
    return handle.options(_by_reference=True) if size > INLINE_BYTES else handle


async def called(who: str, response: Any) -> Any:
    """The deployment's result, with its faults and Ray's turned into our errors."""
    try:
        result = await response
    except BackPressureError as full:
        raise Overloaded(f"{who} has no room in its queue", full.retry_after_s) from full
    except (RayActorError, DeploymentUnavailableError, ObjectLostError) as gone:  # the last: pixels, with their owner
        raise Unavailable(f"{who} is not available at the moment: ask again") from gone
    except (RequestCancelledError, TaskCancelledError) as cancelled:  # while queued, or once a replica had it
        raise asyncio.CancelledError from cancelled
    except RayTaskError as fault:
        logger.error("%s failed", who, exc_info=fault)
        raise TuwenError("something went wrong on our side; the request id is in our log") from fault
    if isinstance(result, TuwenError):
        raise result
    return result
