"""The Faust apps, one a worker. An agent decodes nothing, raises nothing and acknowledges in order: see ``guarded``."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import faust
from faust.types import AppT
from faust.types.auth import CredentialsT

from schemas.settings import KafkaSettings, Settings
from schemas.task_groups import task_group
from stores.broker.kafka import tls_context
from streams.common.checkpoints import Step
from streams.common.deliveries import Delivery, Handler
from streams.common.ports import Checkpoint
from streams.common.tracing import Traced, trace_of_event
from streams.ingest.batches import Ingest
from streams.process.group_consumer import use_group_consumer
from streams.process.pace import Pace
from streams.requests.batches import Requests

COMMIT_INTERVAL_S = 1.0
METADATA_MAX_AGE_MS = 10_000
"""So soon a topic that was missing for a moment, and left unassigned, is seen again."""
SMALL_MESSAGES_AHEAD = 1024
"""Messages of at most SMALL_MESSAGE_BYTES that wait in memory. Fewer would make Faust pause, and sleep for a second."""
POLLED_AT_ONCE = 128
"""Faust goes on to other topics only when it has handed over all that it polled."""

Fatal = Callable[[BaseException], None]
"""Ends the process. An agent that failed must not go on: Faust would acknowledge what it did not handle."""


def create_faust_app(settings: Settings, role: str) -> AppT:
    """A Faust app for one consumer group, which consumes nothing yet."""
    kafka = settings.kafka
    brokers = [f"kafka://{host.strip()}" for host in kafka.bootstrap_servers.split(",")]
    app = faust.App(
        kafka.group(role),
        broker=brokers,
        broker_credentials=_credentials(kafka),
        autodiscover=False,
        web_enabled=False,
        store="memory://",
        # Faust makes this folder and, with tables in memory, never writes to it; by default it lies where we are.
        datadir=str(Path(tempfile.gettempdir(), f"twinlens-{os.getuid()}")),
        topic_disable_leader=True,
        stream_wait_empty=False,
        broker_max_poll_records=POLLED_AT_ONCE,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_MAX_AGE_MS,
        consumer_max_fetch_size=kafka.max_message_bytes,
        producer_max_request_size=kafka.max_message_bytes,
        broker_commit_interval=COMMIT_INTERVAL_S,
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.session_timeout_s / 6,
        broker_request_timeout=max(90.0, kafka.session_timeout_s * 2),
        worker_redirect_stdouts=False,
    )
    use_group_consumer(app)
    return app


def _credentials(kafka: KafkaSettings) -> CredentialsT | None:
    context = tls_context(kafka)
    if kafka.security_protocol.startswith("SASL") and kafka.sasl_password is not None:
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password.get_secret_value(),
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context is not None else None


def raw_topic(app: AppT, name: str, *, ahead: int) -> Any:
    """A topic whose keys and values stay bytes: we parse them, so that a bad one is ours to put aside.

    Faust holds about so many messages as ``ahead`` says, the rest waits in the broker. (It counts no bytes, and by
    default takes 4,096.)
    """
    return app.topic(
        name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", maxsize=ahead
    )


async def consume(stream: Any, handler: Handler, pace: Pace, reached: Checkpoint, *, in_flight: int = 1) -> None:
    """Handle batches of a stream's events, ``in_flight`` at a time, and acknowledge them in the order of their arrival.

    Ends with the stream, when all is handled, or with the first failure.
    """
    slots = asyncio.Semaphore(in_flight)
    handling: asyncio.Queue[tuple[Sequence[Any], asyncio.Task[None]] | None] = asyncio.Queue()

    async def read() -> None:
        batches = pace.batches(stream)
        # A batch is taken when it can be begun: until then, what arrives makes it larger.
        while await slots.acquire() and (events := await anext(batches, None)):
            deliveries = [Delivery.of(event) for event in events]
            handling.put_nowait((events, work.create_task(handled(handler, deliveries, pace))))
        handling.put_nowait(None)

    async def finish() -> None:
        while batch := await handling.get():
            await acknowledged(*batch, reached)
            slots.release()

    async with task_group() as work:
        work.create_task(read())
        work.create_task(finish())


async def handled(handler: Handler, deliveries: Sequence[Delivery], pace: Pace) -> None:
    """Have a batch handled; what that raises ends the worker, unacknowledged."""
    await pace.timed(handler.handle(deliveries))


async def acknowledged(events: Sequence[Any], handling: asyncio.Task[None], reached: Checkpoint) -> None:
    """Acknowledge a batch once it is handled."""
    await handling
    for event in events:
        event.ack()
    await reached(Step.BATCH_ACKED)


def add_ingest_agent(app: AppT, ingest: Ingest, settings: Settings, fatal: Fatal) -> None:
    """Consume bucket events."""

    async def bucket_events(stream: Any) -> None:
        section = settings.ingest
        pace = Pace(section.batch_size, section.batch_wait_s)
        traced = Traced(ingest, trace_of_event)
        await consume(stream, traced, pace, ingest.ports.reached, in_flight=section.batches_in_flight)

    topic = raw_topic(app, settings.kafka.topics.bucket_events, ahead=SMALL_MESSAGES_AHEAD)
    app.agent(topic, name="bucket-events")(guarded(bucket_events, fatal))


def add_requests_agent(app: AppT, requests: Requests, settings: Settings, fatal: Fatal) -> None:
    """Consume external producers' requests."""

    async def image_requests(stream: Any) -> None:
        section = settings.requests
        pace = Pace(section.batch_size, section.batch_wait_s)
        await consume(stream, Traced(requests), pace, requests.ports.reached)

    topic = raw_topic(app, settings.kafka.topics.image_requests, ahead=1)
    app.agent(topic, name="image-requests")(guarded(image_requests, fatal))


def add_index_agent(app: AppT, index: Handler, settings: Settings, fatal: Fatal, reached: Checkpoint) -> None:
    """Consume content messages: while one batch waits for the vector index, the next ones are decoded and embedded."""

    async def contents(stream: Any) -> None:
        section = settings.index
        pace = Pace(section.batch_size, section.batch_wait_s)
        await consume(stream, Traced(index), pace, reached, in_flight=section.batches_in_flight)

    topic = raw_topic(app, settings.kafka.topics.contents, ahead=SMALL_MESSAGES_AHEAD)
    app.agent(topic, name="contents")(guarded(contents, fatal))


def guarded(agent: Callable[[Any], Awaitable[None]], fatal: Fatal) -> Callable[[Any], Awaitable[None]]:
    """An agent from which nothing is raised into Faust, which would acknowledge and go on."""

    async def run(stream: Any) -> None:
        try:
            await agent(stream)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            fatal(error)
            raise

    run.__name__ = agent.__name__
    return run
