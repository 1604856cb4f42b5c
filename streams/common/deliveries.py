"""Messages as they were delivered, and what becomes of those that can't be handled."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from schemas import tracing
from schemas.errors import Outage, RequestRefused, TwinlensError
from schemas.messages import DEAD_LETTER_HEADERS
from stores.broker.ports import Outbox, OutgoingMessage
from streams.common import metrics
from streams.common.backoff import OutageRetry
from streams.common.ports import Clock

log = structlog.get_logger(__name__)

KEPT_OF_A_GIANT = 64 * 1024
"""Bytes that are kept of the value and of the key of a message that is too big to be sent on."""
ROOM_FOR_FACTS = 16 * 1024
"""What the headers of a dead letter need at most, error text included."""
NOWHERE = -1
"""Partition and offset of a message that no topic has."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One Kafka message and where it came from."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]

    @property
    def coordinates(self) -> dict[str, Any]:
        """Topic, partition and offset, for logs."""
        return {"topic": self.topic, "partition": self.partition, "offset": self.offset}

    @property
    def trace(self) -> str | None:
        """The traceparent that the message carries, if it is one."""
        return tracing.valid(self.headers.get(tracing.TRACEPARENT))

    @classmethod
    def of(cls, event: Any) -> Delivery:
        """From a Faust event of a raw topic."""
        message = event.message
        headers = message.headers or {}
        return cls(message.topic, message.partition, message.offset, message.key, message.value, dict(headers))


class Handler(Protocol):
    """Handles a batch; when it returns, every message of it may be acknowledged."""

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Raises Outage when one outlasts the retry budget; anything it raises ends the worker."""


def dead_letter(
    delivery: Delivery, topic: str, stage: str, error: Exception, attempts: int, now: datetime, max_bytes: int
) -> OutgoingMessage:
    """The dead letter of a message: original key and value, everything else in headers named ``dead-letter-*``.

    The message's own headers are kept. Of a message that would not fit, key and value are cut to their first 64 KiB,
    the value's SHA-256 and size are kept, and its own headers only if they have no more than 64 KiB.
    """
    headers = {name: value for name, value in delivery.headers.items() if not name.startswith(DEAD_LETTER_HEADERS)}
    facts = {
        "topic": delivery.topic,
        "partition": delivery.partition,
        "offset": delivery.offset,
        "stage": stage,
        "error-type": type(error).__name__,
        "error": str(error)[:2000],
        "attempts": attempts,
        "time": now.isoformat(),
    }
    key, value = delivery.key, delivery.value
    own = sum(len(name) + len(data or b"") for name, data in headers.items())
    if len(key or b"") + len(value or b"") + own + ROOM_FOR_FACTS > max_bytes:
        whole = value or b""
        facts |= {"truncated": "true", "size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
        key, value = _beginning(key), _beginning(value)
        headers = headers if own <= KEPT_OF_A_GIANT else {}
    headers |= {f"{DEAD_LETTER_HEADERS}{name}": str(fact).encode(errors="replace") for name, fact in facts.items()}
    return OutgoingMessage(topic, key, value, headers)


def _beginning(data: bytes | None) -> bytes | None:
    return None if data is None else data[:KEPT_OF_A_GIANT]


class PutAside(TwinlensError):
    """A message failed for good and is a dead letter now; ``failure`` is what its last attempt met."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(str(failure))
        self.failure = failure


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Puts messages of one stage aside, so that a bug in one item does not take its neighbours along."""

    outbox: Outbox
    topic: str
    clock: Clock
    retry: OutageRetry
    stage: str
    max_bytes: int

    async def put_aside(self, delivery: Delivery, error: Exception, *, attempts: int = 1) -> None:
        """Send a message to the dead letters, unchanged, with its coordinates and the error. Raises BrokerOutage."""
        log.error("dead_letter", stage=self.stage, error=str(error), **delivery.coordinates)
        metrics.DEAD_LETTERS.labels(self.stage).inc()
        now = self.clock.now()
        letter = dead_letter(delivery, self.topic, self.stage, error, attempts, now, self.max_bytes)
        await self.retry.run(lambda: self.outbox.send([letter]))

    async def put_aside_unsent(self, message: OutgoingMessage, error: Exception) -> None:
        """Put a message of ours aside, which the broker refuses. Raises BrokerOutage."""
        unsent = Delivery(message.topic, NOWHERE, NOWHERE, message.key, message.value, message.headers)
        await self.put_aside(unsent, error)

    async def isolate[T](self, delivery: Delivery, step: Callable[[], Awaitable[T]], *, attempts: int) -> T:
        """The step's result, waiting out outages; a bug is tried again, and then its message is put aside.

        Raises PutAside then, and Outage when one outlasts the retry budget.
        """
        for attempt in range(1, attempts + 1):
            try:
                return await self.retry.run(step)
            except Outage:
                raise
            except Exception as error:
                log.exception("item_failed", stage=self.stage, attempt=attempt, **delivery.coordinates)
                failure = error
                if isinstance(error, RequestRefused):
                    break
        await self.put_aside(delivery, failure, attempts=attempt)
        raise PutAside(failure)
