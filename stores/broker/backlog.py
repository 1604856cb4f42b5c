"""How far a consumer group has come, as Kafka knows it."""

from __future__ import annotations

import asyncio
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import BrokerOutage
from schemas.settings import KafkaSettings
from stores.broker.kafka import connection_options
from stores.broker.ports import Backlog


class KafkaBacklog(Backlog):
    """Asks for the committed offsets of a group without joining it. Connects on first use."""

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        self._settings = settings
        self._topic = topic
        self._group = group
        self._consumer: AIOKafkaConsumer | None = None
        self._starting = asyncio.Lock()

    async def has_passed(self, moment: datetime) -> bool:
        try:
            async with asyncio.timeout(self._settings.session_timeout_s):
                return await self._has_passed(round(moment.timestamp() * 1000))
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerOutage(f"how far {self._group} has come can't be read: {error}") from error

    async def _has_passed(self, moment_ms: int) -> bool:
        consumer = await self._started()
        numbers = consumer.partitions_for_topic(self._topic)
        if not numbers:
            raise BrokerOutage(f"the topic {self._topic} is missing")
        partitions = [TopicPartition(self._topic, number) for number in numbers]
        ends = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        later = await consumer.offsets_for_times(dict.fromkeys(partitions, moment_ms))
        for partition in partitions:
            after = later[partition]
            committed = await consumer.committed(partition)
            # What the broker has deleted unread will not be handled by anybody.
            if max(committed or 0, begins[partition]) < (after.offset if after else ends[partition]):
                return False
        return True

    async def _started(self) -> AIOKafkaConsumer:
        async with self._starting:
            if self._consumer is None:
                consumer = AIOKafkaConsumer(
                    **connection_options(self._settings), group_id=self._group, enable_auto_commit=False
                )
                try:
                    await consumer.start()
                    # Without a subscription it would never learn of the topic's partitions.
                    await consumer._client.add_topic(self._topic)  # noqa: SLF001 - there is no public way
                except BaseException:
                    await consumer.stop()
                    raise
                self._consumer = consumer
            return self._consumer

    async def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None
