"""What the ingest worker does with a batch of bucket events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from schemas.errors import MalformedMessage, Outage
from schemas.messages import ObjectHint, parse_bucket_event
from schemas.records import ObjectRef
from schemas.settings import Settings
from streams import metrics
from streams.converge_object import converge_object, give_up_on_object
from streams.deliveries import DeadLetters, Delivery, PutAside
from streams.ports import Ports

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ingest:
    """Handles batches of bucket events. When ``handle`` returns, every event may be acknowledged."""

    ports: Ports
    dead_letters: DeadLetters
    settings: Settings

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Converge each object that the events name, once. Raises Outage when one outlasts the retry budget."""
        hints: dict[ObjectRef, tuple[ObjectHint, Delivery]] = {}
        for delivery in deliveries:
            for hint in await self._parse(delivery):
                hints[hint.ref] = hint, delivery
        slots = asyncio.Semaphore(self.settings.ingest.concurrency)

        async def one(hint: ObjectHint, delivery: Delivery) -> None:
            async with slots:
                await self._converge(hint, delivery)

        await asyncio.gather(*[one(hint, delivery) for hint, delivery in hints.values()])

    async def _parse(self, delivery: Delivery) -> list[ObjectHint]:
        """The hints of an event about our buckets; an event that can't be understood becomes a dead letter."""
        try:
            hints = parse_bucket_event(delivery.value)
        except MalformedMessage as error:
            metrics.EVENTS.labels("malformed").inc()
            await self.dead_letters.put_aside(delivery, error)
            return []
        ours = [hint for hint in hints if hint.ref.bucket in self.settings.objects.buckets]
        metrics.EVENTS.labels("taken").inc(len(ours))
        metrics.EVENTS.labels("foreign_bucket").inc(len(hints) - len(ours))
        return ours

    async def _converge(self, hint: ObjectHint, delivery: Delivery) -> None:
        bound = log.bind(bucket=hint.ref.bucket, key=hint.ref.key, **delivery.coordinates)
        try:
            outcome = await self.dead_letters.isolate(
                delivery, lambda: converge_object(hint, self.ports), attempts=self.settings.ingest.max_attempts
            )
        except PutAside as aside:
            await self._give_up(hint, aside.failure)
            return
        metrics.OBJECTS.labels(outcome).inc()
        bound.info("object_converged", outcome=str(outcome))

    async def _give_up(self, hint: ObjectHint, failure: Exception) -> None:
        """Say in the catalog too why the object is not searchable, if the bug lets us."""
        metrics.OBJECTS.labels("gave_up").inc()
        try:
            await self.dead_letters.patience.run(lambda: give_up_on_object(hint.ref, failure, self.ports))
        except Outage:
            raise
        except Exception:
            log.exception("giving_up_failed", bucket=hint.ref.bucket, key=hint.ref.key)
