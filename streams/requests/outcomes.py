"""What producers are told of their requests: outcomes as rows hold them, and sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from schemas.errors import MalformedMessage
from schemas.messages import RequestOutcome
from schemas.records import REASON_MAX, RequestRecord, RequestResult
from schemas.topics import Topics
from stores.broker.ports import Outbox, OutgoingMessage
from stores.catalog.ports import RequestLedger
from stores.objects.left_out import LeftOut
from stores.objects.ports import ObjectWriter
from streams.common import metrics
from streams.common.checkpoints import Step
from streams.common.concurrency import halving
from streams.common.deliveries import DeadLetters
from streams.common.ports import Checkpoint, Clock
from streams.requests.fetching import Fetch


@dataclass(frozen=True, slots=True)
class RequestPorts:
    """What carrying out requests, and answering them, touches."""

    objects: ObjectWriter
    left_out: LeftOut
    ledger: RequestLedger
    fetch: Fetch
    buckets: tuple[str, ...]
    dead_letters: DeadLetters
    """For outcomes that the broker refuses."""
    outbox: Outbox
    topics: Topics
    clock: Clock
    reached: Checkpoint
    wait: timedelta
    """After so long the sweep sends an outcome again that was not published."""
    max_bytes: int
    """Larger pictures are refused."""


def with_outcome(row: RequestRecord, outcome: RequestResult, reason: str | None, ports: RequestPorts) -> RequestRecord:
    """The row with an outcome, which is to be published."""
    now = ports.clock.now()
    return replace(row, outcome=outcome, reason=reason, occurred_at=now, publish_due=now + ports.wait)


def words(refusal: Exception | str) -> str:
    """The reason as a message and a row can hold it."""
    text = str(refusal).encode(errors="backslashreplace").decode()
    half = REASON_MAX // 2 - 1
    # A long key stands in the middle; what is wrong with it, at the end.
    return text if len(text) <= REASON_MAX else f"{text[:half]}…{text[-half:]}"


async def send_outcomes(concluded: Sequence[RequestRecord], ports: RequestPorts) -> None:
    """Send outcomes, which the rows alone decide: a repetition is an identical message. Raises BrokerOutage.

    One that the broker refuses becomes a dead letter, and the others are sent.
    """

    async def send(part: Sequence[RequestRecord]) -> None:
        await ports.outbox.send([_outcome_message(row, ports.topics) for row in part])
        for row in part:
            metrics.REQUESTS.labels(row.outcome).inc()
            await ports.reached(Step.OUTCOME_SENT)

    for row, error in await halving(concluded, send):
        await ports.dead_letters.put_aside_unsent(_outcome_message(row, ports.topics), error)


def _outcome_message(request: RequestRecord, topics: Topics) -> OutgoingMessage:
    return OutgoingMessage(topics.request_outcomes, request.request_id.encode(), _outcome_of(request).encode())


def _outcome_of(request: RequestRecord) -> RequestOutcome:
    if request.outcome is None or request.occurred_at is None:
        raise MalformedMessage(f"request {request.request_id} has no outcome yet")
    return RequestOutcome(
        request_id=request.request_id,
        outcome=request.outcome,
        reason=request.reason,
        image_id=request.ref.image_id if request.ref else None,
        bucket=request.ref.bucket if request.ref else None,
        key=request.ref.key if request.ref else None,
        occurred_at=request.occurred_at,
    )
