"""Print the change stream: one line per snapshot, pretty or JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from imaging.errors import ModelError
from imaging.model_spec import load_spec
from ops.terminal import shown, stderr, stdout, visible_json
from schemas.errors import MalformedMessage
from schemas.messages import ImageChanged
from schemas.records import ImageState
from schemas.settings import KafkaSettings, Settings
from schemas.similarity import Verdict
from stores.broker.kafka import connection_failure, connection_options, no_answer

_COLOURS = {
    ImageState.PENDING: "yellow",
    ImageState.INDEXED: "green",
    ImageState.REJECTED: "red",
    ImageState.REMOVED: "dim",
}


async def run_watch(settings: Settings, *, from_start: bool, only_copies: bool, as_json: bool) -> None:
    """Print what changes for ever: a line each, pretty or as JSON. Raises BrokerOutage and ConfigurationError."""
    console, kafka, floor = stdout(), settings.kafka, floor_of(settings.model.spec)

    def ready() -> None:
        stderr().print(f"watching {kafka.topics.image_changes}")

    async for change in image_changes(kafka, from_start=from_start, on_ready=ready):
        if only_copies and not has_copy(change):
            continue
        if as_json:
            print(visible_json(change.encode().decode()), flush=True)  # noqa: T201 - the answer
        else:
            console.print(pretty(change, floor), soft_wrap=True)


async def image_changes(
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
        raise no_answer(error) from error
    finally:
        await consumer.stop()


def floor_of(spec: str) -> float:
    """The floor of a model; 0 where its spec is not on this machine, which need not have it to watch."""
    try:
        return load_spec(spec).floor
    except ModelError:
        return 0.0


def has_copy(change: ImageChanged) -> bool:
    """Whether a known picture is the same as, or a copy of, the one that changed."""
    return any(near.verdict in (Verdict.EXACT, Verdict.COPY) for near in change.nearest)


def pretty(change: ImageChanged, floor: float = 0.0) -> str:
    """One line in rich's markup. What is near with a score below ``floor`` is as near as chance would have it."""
    colour = _COLOURS[change.state]
    name = shown(f"{change.bucket}/{change.key}")
    line = f"[dim]{change.occurred_at:%H:%M:%S}[/] [{colour}]{change.state:>8}[/] {name}"
    if change.reason:
        line += f"  [red]{shown(change.reason)}[/]"
    if change.nearest and change.nearest[0].verdict is Verdict.SIMILAR and change.nearest[0].score < floor:
        line += "  [dim]nothing alike[/]"
    elif change.nearest:
        best = change.nearest[0]
        words = {Verdict.EXACT: "same bytes as", Verdict.COPY: "copy of", Verdict.SIMILAR: "looks like"}[best.verdict]
        line += f"  [cyan]{words}[/] {shown(f'{best.bucket}/{best.key}')} [dim]{best.score:.1f}[/]"
    return line
