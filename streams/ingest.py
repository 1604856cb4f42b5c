"""What the ingest worker does with a batch of bucket events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from schemas.errors import MalformedMessage, Outage
from schemas.messages import ObjectHint, parse_bucket_event
from schemas.records import ObjectRef
from schemas.settings import Settings
from streams import metrics
from streams.concurrency import halving
from streams.converge_objects import ObjectOutcome, converge_objects, give_up_on_object
from streams.deliveries import DeadLetters, Delivery, PutAside
from streams.ports import Ports, Retry
from streams.steps import Step

log = structlog.get_logger(__name__)

type Hints = dict[ObjectRef, tuple[ObjectHint, Delivery]]


@dataclass(frozen=True, slots=True)
class Ingest:
    """Handles batches of bucket events. When ``handle`` returns, every event may be acknowledged."""

    ports: Ports
    retry: Retry
    dead_letters: DeadLetters
    settings: Settings

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Converge each object that the events name, once. Raises Outage when one outlasts the retry budget."""
        hints = await self._hints(deliveries)

        async def converge(part: Sequence[ObjectRef]) -> None:
            await self._converge([hints[ref] for ref in part])

        for ref, error in await halving(list(hints), converge):
            log.error("object_failed", bucket=ref.bucket, key=ref.key, exc_info=error)
            await self._converge_alone(*hints[ref])
        await self.ports.reached(Step.BATCH_HANDLED)

    async def _hints(self, deliveries: Sequence[Delivery]) -> Hints:
        hints: Hints = {}
        for delivery in deliveries:
            for hint in await self._parse(delivery):
                hints[hint.ref] = hint, delivery
        return hints

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

    async def _converge(self, hinted: Sequence[tuple[ObjectHint, Delivery]]) -> None:
        hints, concurrency = [hint for hint, _ in hinted], self.settings.ingest.concurrency
        outcomes = await self.retry.run(lambda: converge_objects(hints, self.ports, concurrency=concurrency))
        for hint, delivery in hinted:
            self._converged(hint, delivery, outcomes[hint.ref])

    def _converged(self, hint: ObjectHint, delivery: Delivery, outcome: ObjectOutcome) -> None:
        metrics.OBJECTS.labels(outcome).inc()
        told = log.debug if outcome is ObjectOutcome.UNCHANGED else log.info
        told("object_converged", bucket=hint.ref.bucket, key=hint.ref.key, outcome=str(outcome), **delivery.coordinates)

    async def _converge_alone(self, hint: ObjectHint, delivery: Delivery) -> None:
        """One object by itself, until it is done or its attempts are used up; then its event is a dead letter too."""
        try:
            await self.dead_letters.isolate(
                delivery, lambda: self._converge([(hint, delivery)]), attempts=self.settings.ingest.max_attempts
            )
        except PutAside as aside:
            await self._give_up(hint, aside.failure)

    async def _give_up(self, hint: ObjectHint, failure: Exception) -> None:
        """Say in the catalog too why the object is not searchable, if the bug lets us."""
        metrics.OBJECTS.labels("gave_up").inc()
        try:
            await self.retry.run(lambda: give_up_on_object(hint, failure, self.ports))
        except Outage:
            raise
        except Exception:
            log.exception("giving_up_failed", bucket=hint.ref.bucket, key=hint.ref.key)
