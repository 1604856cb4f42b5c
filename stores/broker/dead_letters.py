"""The dead letters in Kafka: reading them, and remembering what became of each.

A letter's id is its place in the dead-letter topic, ``partition:offset``. What became of a letter is a *marker*: a
further message in the same partition whose header ``dead-letter-resolves`` holds the letter's offset. So nothing but
the topic itself is needed, nothing is ever changed in place, and a marker outlives its letter, since the broker
deletes a partition's oldest messages first. A replay sends the letter first and its marker second: a crash in
between leaves it open, and the message is delivered once more when it is replayed again, which every agent of ours
takes without harm.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.errors import BrokerOutage, RequestRefused
from schemas.messages import DEAD_LETTER_HEADERS
from schemas.settings import KafkaSettings
from stores.broker.kafka import connection_options

RESOLVES = f"{DEAD_LETTER_HEADERS}resolves"
RESOLUTION = f"{DEAD_LETTER_HEADERS}resolution"
FETCH_WAIT_MS = 1000
_NUMBER = re.compile(r"[0-9]{1,18}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 200_000_000_000_000
"""In the year 8307: a later time may not be one that Python knows."""


class Resolution(StrEnum):
    """What became of a letter."""

    REPLAYED = "replayed"
    DROPPED = "dropped"


class LetterId(NamedTuple):
    """The place of a letter in the dead-letter topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``partition:offset``. Raises RequestRefused."""
        partition, _, offset = text.partition(":")
        if not (_NUMBER.fullmatch(partition) and _NUMBER.fullmatch(offset)):
            raise RequestRefused(f"{text!r} is no id of a dead letter; one looks like 3:17")
        return cls(int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be handled: as it was, where it came from, and why it is here."""

    id: LetterId
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None]
    """The message's own headers, which may be null."""
    topic: str
    partition: int
    offset: int
    stage: str
    error_type: str
    error: str
    attempts: int
    time: datetime
    truncated: bool
    size: int
    """Bytes of the original value."""
    resolution: str | None = None

    @classmethod
    def of(cls, record: Any, resolution: str | None = None) -> Self:
        """From a Kafka record of the dead-letter topic. What its headers do not tell is left empty."""
        headers = dict(record.headers)
        facts = {
            name.removeprefix(DEAD_LETTER_HEADERS): value.decode(errors="replace")
            for name, value in headers.items()
            if name.startswith(DEAD_LETTER_HEADERS) and value is not None
        }
        return cls(
            id=LetterId(record.partition, record.offset),
            key=record.key,
            value=record.value,
            headers={name: value for name, value in headers.items() if not name.startswith(DEAD_LETTER_HEADERS)},
            topic=facts.get("topic", ""),
            partition=_number(facts.get("partition")),
            offset=_number(facts.get("offset")),
            stage=facts.get("stage", ""),
            error_type=facts.get("error-type", ""),
            error=facts.get("error", ""),
            attempts=_number(facts.get("attempts")),
            time=_time(facts.get("time"), record.timestamp),
            truncated=facts.get("truncated") == "true",
            size=_number(facts.get("size")) if "size" in facts else len(record.value or b""),
            resolution=resolution,
        )


def _number(text: str | None) -> int:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else 0


def _time(text: str | None, timestamp_ms: int) -> datetime:
    """When the message was put aside; the message's own time, which anybody may set, where none is there."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return _EPOCH + timedelta(milliseconds=min(max(timestamp_ms, 0), _LAST_MS))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def resolved_by(record: Any) -> LetterId | None:
    """The letter that this message is a marker of, or None for a letter, and for what only looks like a marker."""
    offset = (dict(record.headers).get(RESOLVES) or b"").decode(errors="replace")
    return LetterId(record.partition, int(offset)) if _NUMBER.fullmatch(offset) else None


class KafkaDeadLetters:
    """The dead letters of one installation. Every method raises BrokerOutage when Kafka does not answer."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topic = settings.topics.dead_letters

    async def letters(self, *, resolved: bool = False) -> AsyncIterator[DeadLetter]:
        """All open letters, oldest first within a partition, one in memory at a time; with ``resolved`` all of them.

        The topic is read twice: once for the markers, which come after their letters.
        """
        resolutions: dict[LetterId, str] = {}
        async for record in self._records():
            letter_id = resolved_by(record)
            if letter_id is not None:
                what = dict(record.headers).get(RESOLUTION) or b""
                resolutions[letter_id] = what.decode(errors="replace")
        async for record in self._records():
            resolution = resolutions.get(LetterId(record.partition, record.offset))
            if resolved_by(record) is None and (resolved or resolution is None):
                yield DeadLetter.of(record, resolution)

    async def letter(self, letter_id: LetterId) -> DeadLetter:
        """One letter, resolved or not. Raises RequestRefused when it is not there."""
        async for letter in self.letters(resolved=True):
            if letter.id == letter_id:
                return letter
        raise RequestRefused(f"there is no dead letter {letter_id}")

    async def replay(self, letter: DeadLetter) -> None:
        """Send the original message to its topic again, then mark the letter. Raises RequestRefused.

        A letter that was replayed or dropped before is left alone.
        """
        topics = self._settings.topics
        if letter.truncated:
            raise RequestRefused(f"{letter.id} holds only the first part of its message and can't be replayed")
        if letter.topic not in (topics.bucket_events, topics.image_requests, topics.contents):
            raise RequestRefused(
                f"{letter.id} names the topic {letter.topic!r}, which no agent of this installation reads"
            )
        if letter.resolution is None:
            async with self._producer() as producer:
                await producer.send_and_wait(
                    letter.topic, key=letter.key, value=letter.value, headers=list(letter.headers.items())
                )
                await self._mark(producer, letter, Resolution.REPLAYED)

    async def drop(self, letter: DeadLetter) -> None:
        """Mark the letter as dropped; it stays readable until the topic's retention ends."""
        if letter.resolution is None:
            async with self._producer() as producer:
                await self._mark(producer, letter, Resolution.DROPPED)

    async def _mark(self, producer: AIOKafkaProducer, letter: DeadLetter, resolution: Resolution) -> None:
        headers = [(RESOLVES, str(letter.id.offset).encode()), (RESOLUTION, resolution.encode())]
        await producer.send_and_wait(
            self._topic, key=letter.key, value=None, headers=headers, partition=letter.id.partition
        )

    async def _records(self) -> AsyncIterator[Any]:
        """Every message of the topic that was there when the reading began."""
        # Without a group a consumer gets all partitions of its topic, and commits nothing.
        consumer = AIOKafkaConsumer(
            self._topic,
            **connection_options(self._settings),
            enable_auto_commit=False,
            # A later seek to the beginning would race with the first look for a position.
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=self._settings.max_message_bytes,
        )
        try:
            await consumer.start()
            ends = await consumer.end_offsets(consumer.assignment())
            for partition, end in sorted(ends.items()):
                consumer.pause(*ends)
                consumer.resume(partition)
                while await consumer.position(partition) < end:
                    fetched = await consumer.getmany(partition, timeout_ms=FETCH_WAIT_MS)
                    for record in fetched.get(partition, []):
                        yield record
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerOutage(f"the dead letters can't be read: {error}") from error
        finally:
            await consumer.stop()

    @asynccontextmanager
    async def _producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            **connection_options(self._settings), acks="all", max_request_size=self._settings.max_message_bytes
        )
        try:
            await producer.start()
            yield producer
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerOutage(f"Kafka did not accept a message: {error}") from error
        finally:
            await producer.stop()
