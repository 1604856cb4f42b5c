"""What the ingest worker does with a batch of bucket events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from schemas import tracing
from schemas.errors import MalformedMessage, Outage
from schemas.messages import ObjectHint, parse_bucket_event
from schemas.records import ObjectRef
from schemas.settings import Settings
from streams.common import metrics
from streams.common.checkpoints import Step
from streams.common.concurrency import halving
from streams.common.deliveries import DeadLetters, Delivery, PutAside
from streams.common.ports import Retry
from streams.ingest.converge_objects import ObjectOutcome, ObjectPorts, converge_objects, give_up_on_object

log = structlog.get_logger(__name__)

type Hinted = Sequence[tuple[ObjectHint, Delivery]]
"""All that a batch says about one object, or several."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """Handles batches of bucket events. When ``handle`` returns, every event may be acknowledged."""

    ports: ObjectPorts
    retry: Retry
    dead_letters: DeadLetters
    settings: Settings

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Converge each object that the events name, once. Raises Outage when one outlasts the retry budget."""
        hinted = await self._by_object(deliveries)

        async def converge(part: Sequence[ObjectRef]) -> None:
            await self._converge([entry for ref in part for entry in hinted[ref]])

        for ref, error in await halving(list(hinted), converge):
            log.error("object_failed", bucket=ref.bucket, key=ref.key, exc_info=error)
            await self._converge_alone(hinted[ref])
        await self.ports.reached(Step.BATCH_HANDLED)

    async def _by_object(self, deliveries: Sequence[Delivery]) -> dict[ObjectRef, list[tuple[ObjectHint, Delivery]]]:
        """All hints about each object: the last may say what is known already, while one before says what is new."""
        hinted: dict[ObjectRef, list[tuple[ObjectHint, Delivery]]] = {}
        for delivery in deliveries:
            for hint in await self._parse(delivery):
                hinted.setdefault(hint.ref, []).append((hint, delivery))
        return hinted

    async def _parse(self, delivery: Delivery) -> list[ObjectHint]:
        """The hints of an event about our buckets; an event that can't be understood becomes a dead letter."""
        try:
            hints = parse_bucket_event(delivery.value)
        except MalformedMessage as error:
            metrics.EVENTS.labels("malformed").inc()
            await self.dead_letters.put_aside(delivery, error)
            return []
        buckets = self.settings.objects.buckets
        ours = [hint._replace(trace=delivery.trace) for hint in hints if hint.ref.bucket in buckets]
        metrics.EVENTS.labels("taken").inc(len(ours))
        metrics.EVENTS.labels("foreign_bucket").inc(len(hints) - len(ours))
        return ours

    async def _converge(self, hinted: Hinted) -> None:
        hints, concurrency = [hint for hint, _ in hinted], self.settings.ingest.concurrency
        outcomes = await self.retry.run(lambda: converge_objects(hints, self.ports, concurrency=concurrency))
        for ref, delivery in {hint.ref: delivery for hint, delivery in hinted}.items():
            self._converged(ref, delivery, outcomes[ref])

    def _converged(self, ref: ObjectRef, delivery: Delivery, outcome: ObjectOutcome) -> None:
        metrics.OBJECTS.labels(outcome).inc()
        with tracing.span("object converged", {"twinlens.outcome": outcome}, parent=delivery.trace):
            self._say(ref, delivery, outcome)

    def _say(self, ref: ObjectRef, delivery: Delivery, outcome: ObjectOutcome) -> None:
        say = log.debug if outcome is ObjectOutcome.UNCHANGED else log.info
        say("object_converged", bucket=ref.bucket, key=ref.key, outcome=str(outcome), **delivery.coordinates)

    async def _converge_alone(self, hinted: Hinted) -> None:
        """One object by itself, until it is done or its attempts are used up; then its event is a dead letter too."""
        hint, delivery = hinted[-1]
        with tracing.within(delivery.trace):
            try:
                await self.dead_letters.isolate(
                    delivery, lambda: self._converge(hinted), attempts=self.settings.ingest.max_attempts
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
