"""Print the change stream: one line per snapshot, pretty or JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from ops.terminal import shown
from schemas.errors import BrokerOutage, MalformedMessage
from schemas.messages import ImageChanged
from schemas.records import ImageState
from schemas.settings import KafkaSettings
from schemas.similarity import Verdict
from stores.broker.kafka import connection_failure, connection_options

_COLOURS = {
    ImageState.PENDING: "yellow",
    ImageState.INDEXED: "green",
    ImageState.REJECTED: "red",
    ImageState.REMOVED: "dim",
}


async def changes(
    settings: KafkaSettings, *, from_start: bool, on_ready: Callable[[], object]
) -> AsyncIterator[ImageChanged]:
    """Snapshots as they come, from now on or from the start, without a consumer group.

    ``on_ready`` is called when no change from then on will be missed. A null value, and a version that this code does
    not know, are passed over. Raises BrokerOutage and ConfigurationError.
    """
    consumer = AIOKafkaConsumer(
        settings.topics.image_changes,
        **connection_options(settings),
        auto_offset_reset="earliest" if from_start else "latest",
        max_partition_fetch_bytes=settings.max_message_bytes,
    )
    try:
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            raise await connection_failure(settings, error) from error
        for partition in consumer.assignment():
            await consumer.position(partition)
        on_ready()
        async for message in consumer:
            try:
                yield ImageChanged.decode(message.value)
            except MalformedMessage:
                continue
    except (KafkaError, OSError) as error:
        raise BrokerOutage(f"no Kafka broker answers: {error}") from error
    finally:
        await consumer.stop()


def is_copy(change: ImageChanged) -> bool:
    """Whether a known picture is the same as, or a copy of, the one that changed."""
    return any(near.verdict in (Verdict.EXACT, Verdict.COPY) for near in change.nearest)


def pretty(change: ImageChanged) -> str:
    """One line in rich's markup."""
    colour = _COLOURS[change.state]
    name = shown(f"{change.bucket}/{change.key}")
    line = f"[dim]{change.occurred_at:%H:%M:%S}[/] [{colour}]{change.state:>8}[/] {name}"
    if change.reason:
        line += f"  [red]{shown(change.reason)}[/]"
    if change.nearest:
        best = change.nearest[0]
        words = {Verdict.EXACT: "same bytes as", Verdict.COPY: "copy of", Verdict.SIMILAR: "looks like"}[best.verdict]
        line += f"  [cyan]{words}[/] {shown(f'{best.bucket}/{best.key}')} [dim]{best.score:.1f}[/]"
    return line
