"""`twinlens publish`: files as image requests over Kafka, and what becomes of them: a producer like any other."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from ops.pictures import NOTHING_FOUND, PathProblem, Source, find_sources
from ops.progress import progress_bar
from ops.settled import Waiting, print_rejected, rejected_of
from ops.terminal import json_text, plain, stderr
from schemas.errors import BrokerOutage, MalformedMessage, Outage
from schemas.messages import RequestOutcome
from schemas.records import REQUEST_ID, ObjectRef, RequestResult
from schemas.settings import KafkaSettings, Settings
from stores.broker.kafka import connection_failure, connection_options
from stores.objects.keys import checked_ref

ENVELOPE_BYTES = 8192
"""What a message needs besides its value: headers, key and framing, generously."""


class Unanswered(Outage):
    """Requests are on the topic, and nobody has answered them in time."""

    dependency = "requests worker"


async def run_publish(
    settings: Settings,
    paths: Sequence[Path],
    *,
    bucket: str | None,
    prefix: str,
    everything: bool,
    timeout_s: float,
    waiting: Waiting | None = None,
    as_json: bool = False,
) -> bool:
    """Publish files with a progress bar, print every outcome that is not ``stored``; whether all were stored.

    ``waiting``: until each that was stored is indexed or rejected, too; then whether none was rejected. Raises
    PathProblem before anything is sent, BrokerOutage, ConfigurationError, Unanswered and StillPending.
    """
    bucket = bucket or settings.objects.default_bucket
    sources = find_sources(paths, prefix=prefix, everything=everything)
    if not sources:
        raise PathProblem(NOTHING_FOUND)
    for source in sources:
        _check(source, bucket, settings.kafka)
    console = stderr()
    requests = {str(uuid.uuid4()): source for source in sources}
    stored: list[Source] = []
    failed: list[dict[str, str | None]] = []
    with progress_bar(console) as progress:
        task = progress.add_task(f"publishing to {bucket}", total=len(requests))
        async for outcome in publish(requests, settings.kafka, bucket=bucket, timeout_s=timeout_s):
            progress.advance(task)
            source = requests[outcome.request_id]
            if outcome.outcome is RequestResult.STORED:
                stored.append(source)
                continue
            failed.append({"path": str(source.path), "outcome": str(outcome.outcome), "reason": outcome.reason})
            console.print(plain(f"{source.path}: {outcome.outcome}: {outcome.reason}", style="red"), soft_wrap=True)
        rejected = None
        if waiting is not None:
            settling = progress.add_task("searchable", total=len(stored))
            rejected = await rejected_of(waiting, bucket, stored, lambda: progress.advance(settling))
    console.print(f"{len(stored):,} stored, {len(failed):,} not")
    if as_json:
        rejections = None if rejected is None else [one._asdict() for one in rejected]
        keys = sorted(source.key for source in stored)
        print(json_text({"bucket": bucket, "stored": keys, "failed": failed, "rejected": rejections}))  # noqa: T201
    else:
        print_rejected(rejected or [])
    return not (failed or rejected)


def _check(source: Source, bucket: str, kafka: KafkaSettings) -> None:
    """Raises PathProblem for a file that no message can hold, RequestRefused for a key that no object can have."""
    checked_ref(ObjectRef(bucket, source.key))
    size = source.path.stat().st_size
    if size + ENVELOPE_BYTES > kafka.max_message_bytes:
        raise PathProblem(
            f"{source.path} has {size:,} bytes, and a message holds {kafka.max_message_bytes:,} "
            "(kafka.max_message_bytes): put it into the bucket with `twinlens add`"
        )


async def publish(
    requests: Mapping[str, Source], kafka: KafkaSettings, *, bucket: str, timeout_s: float
) -> AsyncIterator[RequestOutcome]:
    """Send files in the raw form, by request id, and give the outcomes as they come, until all are there.

    Raises BrokerOutage, ConfigurationError, and Unanswered when no outcome has come for ``timeout_s`` seconds.
    """
    waiting = set(requests)
    loop = asyncio.get_running_loop()
    async with _outcomes(kafka) as consumer:
        sending = asyncio.create_task(_send(requests, kafka, bucket))
        heard = loop.time()
        try:
            while waiting:
                batch = await consumer.getmany(timeout_ms=200)
                if sending.done():
                    await sending
                else:
                    heard = loop.time()
                for message in (message for messages in batch.values() for message in messages):
                    outcome = _ours(message.value, waiting)
                    if outcome is not None:
                        heard = loop.time()
                        waiting.discard(outcome.request_id)
                        yield outcome
                if loop.time() - heard > timeout_s:
                    raise Unanswered(
                        f"{len(waiting):,} of {len(requests):,} requests have had no outcome for {timeout_s:g} s; "
                        "they stay on the topic. Does `twinlens worker requests` run?"
                    )
        finally:
            sending.cancel()


def _ours(value: bytes | None, waiting: set[str]) -> RequestOutcome | None:
    try:
        outcome = RequestOutcome.decode(value)
    except MalformedMessage:
        return None
    return outcome if outcome.request_id in waiting else None


@asynccontextmanager
async def _outcomes(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of the outcomes that come from now on; its position is fixed before the first request is sent."""
    consumer = AIOKafkaConsumer(kafka.topics.request_outcomes, **connection_options(kafka), auto_offset_reset="latest")
    try:
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            raise await connection_failure(kafka, error) from error
        for partition in consumer.assignment():
            await consumer.position(partition)
        yield consumer
    except KafkaError as error:
        raise BrokerOutage(f"the outcomes can't be read: {error}") from error
    finally:
        await consumer.stop()


async def _send(requests: Mapping[str, Source], kafka: KafkaSettings, bucket: str) -> None:
    producer = AIOKafkaProducer(**connection_options(kafka), acks="all", max_request_size=kafka.max_message_bytes)
    try:
        await producer.start()
        for request_id, source in requests.items():
            headers = {
                REQUEST_ID: request_id,
                "key": source.key,
                "bucket": bucket,
                "content-type": source.content_type,
            }
            await producer.send_and_wait(
                kafka.topics.image_requests,
                await asyncio.to_thread(_read, source),
                # One Kafka key per object keeps requests for it in order.
                key=source.key.encode(),
                headers=[(name, value.encode()) for name, value in headers.items()],
            )
    except (KafkaError, OSError) as error:
        raise BrokerOutage(f"Kafka did not accept a request: {error}") from error
    finally:
        await producer.stop()


def _read(source: Source) -> bytes:
    try:
        return source.path.read_bytes()
    except OSError as error:
        raise PathProblem(f"{source.path} can't be read: {error.strerror}") from error
