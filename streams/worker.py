"""A worker process: a Faust app, its health endpoint and its background loops, from start to exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from functools import partial
from typing import Literal, NoReturn

import structlog
from aiokafka.errors import KafkaError
from faust.types import AppT

from imaging.embedding import OnnxEmbedder
from imaging.model_spec import ModelSpec
from schemas.collection import is_same_model
from schemas.errors import BrokerOutage, ConfigurationError, Outage
from schemas.settings import IndexSettings, IngestSettings, RequestSettings, Settings
from stores.broker.topics import missing_topics
from stores.vectors.ports import VectorReader
from streams import apps
from streams.audit import Audit
from streams.background import (
    backlog,
    fold_figures_for_ever,
    leads,
    sweep_for_ever,
    watch_dependencies,
    watch_expired,
    watch_lag,
    watch_made_anew,
    watch_oldest_pending,
)
from streams.composition import WorkerParts, bucket_checks, dependency_checks, worker_parts
from streams.deliveries import DeadLetters
from streams.health import serve_health
from streams.index import Index
from streams.inference import InferenceThreads
from streams.ingest import Ingest
from streams.metrics import DEPENDENCY_UP
from streams.patience import Check, Outages, Patience
from streams.reconcile.patrol import Patrol, Surroundings
from streams.reconcile.schedule import Schedule
from streams.requests import Requests
from streams.scope import CHECK_TIMEOUT_S
from streams.sweep import sweep

log = structlog.get_logger(__name__)

Role = Literal["ingest", "requests", "index"]


class ExitCode(IntEnum):
    """How a worker ends; after sysexits.h."""

    OK = 0
    BUG = 70
    """EX_SOFTWARE: something failed that is no outage."""
    OUTAGE = 75
    """EX_TEMPFAIL: an outage outlasted the retry budget. Nothing unhandled was acknowledged: start me again."""
    CONFIGURATION = 78
    """EX_CONFIG: an operator has to change something first."""


def fatal(error: BaseException) -> NoReturn:
    """End the process at once, unacknowledged, with the exit code that says why.

    At once, since Faust commits on its way out, and past messages that nobody has handled.
    """
    code = exit_code(error)
    log.critical(
        "worker_ends",
        exit_code=int(code),
        error_type=type(error).__name__,
        error=str(error),
        exc_info=error if code is ExitCode.BUG else None,
    )
    logging.shutdown()
    os._exit(code)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code of an error that ends a worker."""
    # Faust's own Kafka client can meet an outage too, in the moment between our first look and its start.
    if isinstance(error, Outage) or (isinstance(error, KafkaError) and error.retriable):
        return ExitCode.OUTAGE
    return ExitCode.CONFIGURATION if isinstance(error, ConfigurationError) else ExitCode.BUG


async def run_worker(role: Role, settings: Settings) -> ExitCode:
    """Run until SIGTERM or SIGINT; an outage that outlasts the budget ends the process from within."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with worker_parts(settings) as parts:
        worker = Worker(role, parts)
        section: IngestSettings | RequestSettings | IndexSettings = getattr(settings, role)
        async with serve_health(section.health_host, section.health_port, worker.checks):
            try:
                await worker.run(stop)
            except Exception as error:
                fatal(error)
    return ExitCode.OK


async def check_model(spec: ModelSpec, vectors: VectorReader) -> None:
    """Raises ConfigurationError unless the live collection was made by this model: vectors of two are never mixed."""
    live = await vectors.model_name()
    if not is_same_model(live, spec.name):
        raise ConfigurationError(f"the live collection was made by the model {live}, and the settings name {spec.name}")


class Worker:
    """One role's Faust app and loops over its parts."""

    def __init__(self, role: Role, parts: WorkerParts) -> None:
        self._role = role
        self._parts = parts
        self._consuming: AppT | None = None
        self._index: Index | None = None
        self._requests: Requests | None = None
        self._inference: InferenceThreads | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Wait for what the worker needs, consume until ``stop``, end in good order."""
        if not await self._ready_to_start(stop):
            return
        app = self._create_app()
        await app.start()
        self._consuming = app
        loops = [asyncio.create_task(self._guarded(loop)) for loop in self._loops(app)]
        log.info("worker_started", role=self._role)
        crashed = asyncio.create_task(app.wait_until_stopped())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({crashed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            fatal(app.crash_reason or BrokerOutage("the Kafka consumer stopped by itself"))
        log.info("worker_stopping", role=self._role)
        for task in loops:
            task.cancel()
        if self._index is not None:
            # Before the batches are cut off: a stop is no failed attempt.
            await self._index.refund_unfinished()
        await app.stop()
        if self._inference is not None:
            self._inference.close()

    async def _ready_to_start(self, stop: asyncio.Event) -> bool:
        """Wait for what a worker needs; False if stopped meanwhile.

        Faust only logs a missing topic and then consumes nothing, so the topics are among it.
        """
        settings = self._parts.settings
        # What is missing is told as it is met: there is a broker that answers though its topics are missing.
        patience = Patience(settings.retry, Outages())
        waiting = asyncio.create_task(patience.run(self._needs))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            return False
        stopped.cancel()
        await waiting
        for dependency in ("broker", "catalog", "objects", "vectors"):
            DEPENDENCY_UP.labels(dependency).set(1)
        log.info("dependencies_ready", role=self._role, topic_prefix=settings.kafka.topic_prefix)
        return True

    async def _needs(self) -> None:
        kafka = self._parts.settings.kafka
        missing = await missing_topics(kafka)
        if missing:
            raise BrokerOutage(f"topics are missing ({', '.join(missing)}): run `twinlens setup`")
        await self._parts.ports.catalog.check()
        if self._role == "index":
            await check_model(self._parts.spec, self._parts.ports.vectors)

    def _create_app(self) -> AppT:
        settings, ports, patience = self._parts.settings, self._parts.ports, self._parts.patience
        dead_letters = DeadLetters(ports, patience, self._role, settings.kafka.max_message_bytes)
        app = apps.create_app(settings, self._role)
        if self._role == "ingest":
            apps.add_ingest_agent(app, Ingest(ports, patience, dead_letters, settings), settings, fatal)
        elif self._role == "requests":
            self._requests = Requests(self._parts.requests, dead_letters, settings)
            apps.add_requests_agent(app, self._requests, settings, fatal)
        else:
            threads = settings.model.threads or os.cpu_count() or 1
            embedder = OnnxEmbedder(self._parts.spec, threads=threads, providers=settings.model.providers)
            self._inference = InferenceThreads(embedder, settings.limits, decode_threads=settings.index.decode_threads)
            self._index = Index(
                ports, patience, dead_letters, settings.index, self._inference, buckets=settings.objects.buckets
            )
            apps.add_index_agent(app, self._index, settings, fatal, ports.reached)
        return app

    def _loops(self, app: AppT) -> list[Callable[[], Awaitable[None]]]:
        parts = self._parts
        on_made_anew: Callable[[], Awaitable[None]] | None = None
        loops: list[Callable[[], Awaitable[None]]] = [
            lambda: watch_dependencies(self._dependencies(), parts.patience.outages),
            lambda: watch_lag(app),
        ]
        sweeping = parts.settings.sweep
        if self._role == "ingest":
            events = parts.settings.kafka.topics.bucket_events

            def leading() -> bool:
                return leads(app, events)

            schedule = Schedule(parts.ports, parts.patience, parts.settings, leading)
            on_made_anew = partial(schedule.want, "made_anew")
            audit = Audit(parts.ports, parts.patience, parts.settings, leading)
            loops += [
                lambda: sweep_for_ever("catalog", lambda: sweep(parts.ports), sweeping, parts.patience, leading),
                lambda: watch_oldest_pending(parts.ports, parts.patience),
                lambda: fold_figures_for_ever(parts.ports, parts.patience, leading),
                lambda: watch_expired(app, lambda: schedule.want("expired")),
                schedule.watch_for_ever,
                schedule.work_for_ever,
                audit.run_for_ever,
                *[patrol.work_for_ever for patrol in self._patrols(app)],
            ]
        if self._requests is not None:
            requests = self._requests
            asked = parts.settings.kafka.topics.image_requests

            def leading_requests() -> bool:
                return leads(app, asked)

            loops += [
                lambda: sweep_for_ever("outcomes", requests.sweep, sweeping, parts.patience, leading_requests),
                lambda: sweep_for_ever("old_requests", requests.drop_old, sweeping, parts.patience, leading_requests),
                lambda: watch_expired(app),
            ]
        if parts.settings.kafka.watch_made_anew:
            loops.append(lambda: watch_made_anew(app, on_made_anew))
        return loops

    def _patrols(self, app: AppT) -> list[Patrol]:
        parts, settings = self._parts, self._parts.settings
        if settings.patrol.rate == 0:
            return []
        events = settings.kafka.topics.bucket_events
        around = Surroundings(
            leads=lambda: leads(app, events),
            backlog=lambda: backlog(app, events),
            ensure_announced=parts.objects.ensure_announced,
        )
        # Where a bucket is away, its round is broken off: whether it is back is for its check to say.
        patience = Patience(settings.retry, parts.patience.outages, waits_for_buckets=False)
        return [Patrol(bucket, parts.ports, patience, settings, around) for bucket in settings.objects.buckets]

    async def _guarded(self, loop: Callable[[], Awaitable[None]]) -> None:
        """A background loop that fails ends the process: a worker without its sweep is only half there."""
        try:
            await loop()
        except Exception as error:
            fatal(error)

    def _dependencies(self) -> Mapping[str, Check]:
        ports, settings = self._parts.ports, self._parts.settings.objects
        checks = dependency_checks(ports, settings) | bucket_checks(ports, settings)
        if self._role == "ingest":
            del checks["vectors"]
        return checks

    async def checks(self) -> Mapping[str, str]:
        """The state of each dependency and of the consumer, for /readyz."""
        dependencies = self._dependencies()
        states = await asyncio.gather(*[_state(check) for check in dependencies.values()])
        found = dict(zip(dependencies, states, strict=True))
        assigned = self._consuming is not None and bool(self._consuming.consumer.assignment())
        found["consumer"] = "ok" if assigned else "no partitions are assigned yet"
        return found


async def _state(check: Check) -> str:
    """Say "ok", or what is wrong with a dependency."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:.0f} s"
    except (Outage, ConfigurationError) as error:
        return str(error)
    return "ok"
