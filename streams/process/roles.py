"""What each kind of worker does: what it consumes, the loops that run beside that, and what it depends on."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Final, Literal

import structlog
from faust.types import AppT

from imaging.embedding import OnnxEmbedder
from schemas.errors import ModelsChanged
from schemas.settings import IndexSettings, IngestSettings, RequestSettings
from streams.assembly import (
    dead_letters,
    for_audit,
    for_index,
    for_objects,
    for_reconcile,
    for_sweep,
    nearest,
)
from streams.common.backoff import Check, OutageRetry
from streams.common.deliveries import DeadLetters, Delivery, Handler
from streams.index.batches import Index
from streams.index.inference import InferenceThreads
from streams.index.nearest import unverified
from streams.ingest.batches import Ingest
from streams.models.serving import Serving, served_vectors, serving, watch_models
from streams.process.agents import Fatal, add_index_agent, add_ingest_agent, add_requests_agent
from streams.process.composition import WorkerParts, bucket_checks, dependency_checks
from streams.process.loops import (
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
from streams.repair.audit import Audit
from streams.repair.patrol import Patrol, Surroundings
from streams.repair.schedule import Schedule
from streams.repair.sweep import sweep
from streams.requests.batches import Requests

log = structlog.get_logger(__name__)

RoleName = Literal["ingest", "requests", "index"]
Loop = Callable[[], Awaitable[None]]
"""Runs until it is cancelled; one that ends by an error ends the worker."""


class WorkerRole(ABC):
    """What a worker does; that it is a process, with signals and an exit code, is for `streams.process.worker`."""

    name: ClassVar[RoleName]

    def __init__(self, parts: WorkerParts) -> None:
        self.parts = parts
        self.models_changed = asyncio.Event()
        """Set when other models are served than when the worker started: it must be started anew."""
        self._unserved = parts.ports

    @property
    @abstractmethod
    def section(self) -> IngestSettings | RequestSettings | IndexSettings:
        """Its own settings."""

    def dependencies(self) -> Mapping[str, Check]:
        """The check of each server and bucket that it needs."""
        ports, settings = self.parts.ports, self.parts.settings.objects
        return dependency_checks(ports, settings) | bucket_checks(ports, settings)

    async def find_models(self) -> None:
        """Work on the collections that are served just now; safe to repeat. Raises Outage."""
        served = served_vectors(self._unserved.vectors, await self._unserved.catalog.switch())
        self.parts = replace(self.parts, ports=self._unserved.on(served))

    @abstractmethod
    def consume(self, app: AppT, fatal: Fatal) -> None:
        """Add the agent to the app; called once, after `find_models`."""

    def loops(self, app: AppT) -> list[Loop]:
        """What runs beside the consumer."""
        return [
            lambda: watch_dependencies(self.dependencies(), self.parts.retry.outages),
            lambda: watch_lag(app),
        ]

    async def before_stop(self) -> None:  # noqa: B027 - most roles have nothing to do then
        """What must be done before the batches in hand are cut off."""

    def close(self) -> None:  # noqa: B027 - likewise
        """Give back what it opened itself."""

    def _dead_letters(self) -> DeadLetters:
        limit = self.parts.settings.kafka.max_message_bytes
        return dead_letters(self.parts.ports, self.parts.retry, self.name, limit)

    def _watching_models(self) -> Loop:
        ports, retry = self.parts.ports, self.parts.retry
        return lambda: watch_models(ports.catalog, ports.switch_version, retry, self.models_changed.set)

    def _watching_made_anew(self, app: AppT, then: Loop | None = None) -> list[Loop]:
        return [lambda: watch_made_anew(app, then)] if self.parts.settings.kafka.watch_made_anew else []


class IngestRole(WorkerRole):
    """Consumes bucket events; the one that leads also sweeps, compares, patrols and audits."""

    name = "ingest"

    @property
    def section(self) -> IngestSettings:
        """See WorkerRole."""
        return self.parts.settings.ingest

    def dependencies(self) -> Mapping[str, Check]:
        """See WorkerRole: it can look at objects while the vector index is away."""
        return {name: check for name, check in super().dependencies().items() if name != "vectors"}

    def consume(self, app: AppT, fatal: Fatal) -> None:
        """See WorkerRole."""
        parts = self.parts
        ingest = Ingest(for_objects(parts.ports), parts.retry, self._dead_letters(), parts.settings)
        add_ingest_agent(app, ingest, parts.settings, fatal)

    def loops(self, app: AppT) -> list[Loop]:
        """See WorkerRole."""
        parts, settings = self.parts, self.parts.settings
        ports, retry = parts.ports, parts.retry
        sweeping = for_sweep(ports)
        leading = partial(leads, app, settings.kafka.topics.bucket_events)
        schedule = Schedule(for_reconcile(ports), retry, settings, leading)
        return [
            *super().loops(app),
            self._watching_models(),
            lambda: sweep_for_ever("catalog", lambda: sweep(sweeping), settings.sweep, retry, leading),
            lambda: watch_oldest_pending(ports.catalog, ports.clock, retry),
            lambda: fold_figures_for_ever(ports.catalog, ports.clock, retry, leading),
            lambda: watch_expired(app, lambda: schedule.request("expired")),
            schedule.watch_for_ever,
            schedule.work_for_ever,
            Audit(for_audit(ports), retry, settings, leading).run_for_ever,
            *[patrol.work_for_ever for patrol in self._patrols(app)],
            *self._watching_made_anew(app, partial(schedule.request, "made_anew")),
        ]

    def _patrols(self, app: AppT) -> list[Patrol]:
        parts, settings = self.parts, self.parts.settings
        if settings.patrol.rate == 0:
            return []
        events = settings.kafka.topics.bucket_events
        around = Surroundings(
            leads=partial(leads, app, events),
            backlog=partial(backlog, app, events),
            ensure_announced=parts.objects.ensure_announced,
        )
        # Where a bucket is away, its round is broken off: whether it is back is for its check to say.
        retry = OutageRetry(settings.retry, parts.retry.outages, waits_for_buckets=False)
        ports = for_reconcile(parts.ports)
        return [Patrol(bucket, ports, retry, settings, around) for bucket in settings.objects.buckets]


class RequestsRole(WorkerRole):
    """Consumes image requests, and tells their producers what became of them."""

    name = "requests"

    @property
    def section(self) -> RequestSettings:
        """See WorkerRole."""
        return self.parts.settings.requests

    def consume(self, app: AppT, fatal: Fatal) -> None:
        """See WorkerRole."""
        self._requests = Requests(self.parts.requests, self._dead_letters(), self.parts.settings)
        add_requests_agent(app, self._requests, self.parts.settings, fatal)

    def loops(self, app: AppT) -> list[Loop]:
        """See WorkerRole."""
        requests, settings, retry = self._requests, self.parts.settings, self.parts.retry
        leading = partial(leads, app, settings.kafka.topics.image_requests)
        return [
            *super().loops(app),
            lambda: sweep_for_ever("outcomes", requests.sweep, settings.sweep, retry, leading),
            lambda: sweep_for_ever("old_requests", requests.drop_old, settings.sweep, retry, leading),
            lambda: watch_expired(app),
            *self._watching_made_anew(app),
        ]


class IndexRole(WorkerRole):
    """Consumes contents: decodes, embeds and indexes them by the models that are served."""

    name = "index"

    def __init__(self, parts: WorkerParts) -> None:
        super().__init__(parts)
        self._inference: list[InferenceThreads] = []

    @property
    def section(self) -> IndexSettings:
        """See WorkerRole."""
        return self.parts.settings.index

    async def find_models(self) -> None:
        """See WorkerRole; the models are held to the collections, too. Raises ConfigurationError besides."""
        self._serving, served = await serving(self._unserved.catalog, self._unserved.vectors, self.parts.spec)
        ports = replace(self._unserved.on(served), copy_threshold=self._serving.spec.copy_threshold)
        self.parts = replace(self.parts, ports=ports)

    def consume(self, app: AppT, fatal: Fatal) -> None:
        """See WorkerRole."""
        parts = self.parts
        self._inference = self._models(self._serving)
        inference, *others = self._inference
        verify = nearest(parts.ports, inference, self.section).verified
        self._index = Index(
            for_index(parts.ports),
            parts.retry,
            self._dead_letters(),
            self.section,
            inference,
            other=others[0] if others else None,
            buckets=parts.settings.objects.buckets,
            verify=verify if self.section.verify_nearest else unverified,
        )
        handler = UntilModelsChange(self._index, self.models_changed)
        add_index_agent(app, handler, parts.settings, fatal, parts.ports.reached)

    def loops(self, app: AppT) -> list[Loop]:
        """See WorkerRole."""
        return [*super().loops(app), self._watching_models(), *self._watching_made_anew(app)]

    async def before_stop(self) -> None:
        """See WorkerRole: a stop is no failed attempt."""
        await self._index.refund_unfinished()

    def close(self) -> None:
        """See WorkerRole."""
        for inference in self._inference:
            inference.close()

    def _models(self, served: Serving) -> list[InferenceThreads]:
        """The models that are served, the one in use first."""
        settings = self.parts.settings
        threads = settings.model.threads or os.cpu_count() or 1
        pairs = [(served.spec, served.mark)]
        if served.other_spec is not None and served.other_mark is not None:
            pairs.append((served.other_spec, served.other_mark))
        return [
            InferenceThreads(
                OnnxEmbedder(spec, threads=threads, providers=settings.model.providers),
                settings.limits,
                decode_threads=settings.index.decode_threads,
                mark=mark,
            )
            for spec, mark in pairs
        ]


@dataclass(frozen=True, slots=True)
class UntilModelsChange(Handler):
    """Handles batches until other models are served: from then on, what was not handled is left to a new process."""

    handler: Handler
    changed: asyncio.Event

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """See Handler; never returns for a batch that met a change of models."""
        try:
            await self.handler.handle(deliveries)
        except ModelsChanged as error:
            log.info("models_changed", error=str(error))
            self.changed.set()
            await asyncio.Event().wait()  # Until it is cut off.


ROLES: Final[Mapping[RoleName, type[WorkerRole]]] = {role.name: role for role in (IngestRole, RequestsRole, IndexRole)}
