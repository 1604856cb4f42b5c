"""A bad way from the object store to Twinlens: events get lost, come twice, and overtake one another."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from tests.harness.stack.cleanup import in_own_loop

LOST, TWICE, LATE = 0.2, 0.2, 0.2
"""Shares of all events."""
HELD_AT_MOST: Final = 20
"""So many others may overtake an event that is late."""
AGAIN_AFTER_S: Final = 1.0


@dataclass
class LossyRelay:
    """Takes events from one topic to another in a thread of its own until the block ends; Kafka may go meanwhile."""

    kafka: str
    source: str
    target: str
    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._held: list[ConsumerRecord] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._relay()))

    def __enter__(self) -> Self:
        in_own_loop(self._create_source())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    async def _create_source(self) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await client.start()
        try:
            await client.create_topics([NewTopic(self.source, num_partitions=1, replication_factor=1)])
        finally:
            await client.close()

    async def _relay(self) -> None:
        while not self._ended.is_set():
            with suppress(KafkaError, OSError):
                await self._relay_until_error()
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _relay_until_error(self) -> None:
        consumer = AIOKafkaConsumer(
            self.source, bootstrap_servers=self.kafka, group_id="relay", auto_offset_reset="earliest"
        )
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all")
        try:
            await producer.start()
            await consumer.start()
            while not self._ended.is_set():
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    for message in messages:
                        await self._pass_on(message, producer)
            while self._held:
                await self._send(self._held.pop(), producer)
        finally:
            await consumer.stop()
            await producer.stop()

    async def _pass_on(self, message: ConsumerRecord, producer: AIOKafkaProducer) -> None:
        fate = self._chance.random()
        if fate < LOST:
            self.counts["lost"] += 1
            return
        if fate < LOST + LATE:
            self.counts["late"] += 1
            self._held.append(message)
        else:
            await self._send(message, producer)
        if fate > 1 - TWICE:
            self.counts["twice"] += 1
            await self._send(message, producer)
        while len(self._held) > self._chance.randrange(HELD_AT_MOST):
            await self._send(self._held.pop(self._chance.randrange(len(self._held))), producer)

    async def _send(self, message: ConsumerRecord, producer: AIOKafkaProducer) -> None:
        await producer.send_and_wait(self.target, message.value, key=message.key)
