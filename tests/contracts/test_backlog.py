"""How far a consumer group has come, as the real broker tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.errors import BrokerOutage
from schemas.settings import KafkaSettings
from stores.broker.backlog import KafkaBacklog
from stores.broker.topics import ensure_topics
from tests.harness.stack.process import free_port

EARLY = datetime.now(UTC) - timedelta(hours=1)
"""What is older than the retention would be deleted at once."""


@pytest_asyncio.fixture
async def settings(kafka: str, topic_prefix: str) -> AsyncIterator[KafkaSettings]:
    """A broker with empty topics, of two partitions each."""
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=2)
    await ensure_topics(settings)
    yield settings


async def test_a_moment_is_passed_when_all_that_was_sent_before_it_is_acknowledged(settings: KafkaSettings) -> None:
    """In every partition; a group that has never acknowledged anything has passed what there is not."""
    topic, group = settings.topics.contents, settings.group("index")
    backlog = KafkaBacklog(settings, topic, group)
    assert await backlog.has_passed(EARLY + timedelta(days=1))
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for second in range(3):
            moment_ms = round((EARLY + timedelta(seconds=second)).timestamp() * 1000)
            for partition in range(2):
                await producer.send_and_wait(topic, b"", partition=partition, timestamp_ms=moment_ms)
    assert await backlog.has_passed(EARLY)
    assert not await backlog.has_passed(EARLY + timedelta(seconds=0.5))
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, group_id=group, enable_auto_commit=False)
    async with consumer:
        consumer.assign([first, second])
        await consumer.commit({first: 3, second: 0})
        assert not await backlog.has_passed(EARLY + timedelta(seconds=0.5))
        await consumer.commit({second: 1})
        assert await backlog.has_passed(EARLY + timedelta(seconds=0.5))
        assert not await backlog.has_passed(EARLY + timedelta(days=1))
        await consumer.commit({second: 3})
        assert await backlog.has_passed(EARLY + timedelta(days=1))
    await backlog.close()


async def test_a_broker_that_is_not_there_is_an_outage() -> None:
    """It is waited out like any other."""
    settings = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    backlog = KafkaBacklog(settings, "contents", "index")
    with pytest.raises(BrokerOutage):
        await backlog.has_passed(EARLY)
    await backlog.close()
