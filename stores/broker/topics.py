"""Creating and checking the Kafka topics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from schemas.errors import ConfigurationError
from schemas.settings import KafkaSettings
from schemas.topics import TopicSpec
from stores.broker.kafka import connection_failure, connection_options, no_answer


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**connection_options(settings))
    try:
        try:
            await client.start()
        except (KafkaError, OSError) as error:
            raise await connection_failure(settings, error) from error
        yield client
    except (KafkaError, OSError) as error:
        raise no_answer(error) from error
    finally:
        await client.close()


async def missing_topics(settings: KafkaSettings) -> list[str]:
    """Names of the topics that are not there. Raises BrokerOutage, and ConfigurationError if the login is refused."""
    async with _admin(settings) as client:
        there = set(await client.list_topics())
    return [spec.name for spec in settings.topic_specs if spec.name not in there]


async def ensure_topics(settings: KafkaSettings) -> list[str]:
    """Create the topics that are not there and return their names. Safe to repeat, also at the same time.

    Raises BrokerOutage, and ConfigurationError when the broker refuses the login, or a topic for good.
    """
    missing = set(await missing_topics(settings))
    wanted = [_new_topic(spec, settings) for spec in settings.topic_specs if spec.name in missing]
    if not wanted:
        return []
    async with _admin(settings) as client:
        response = await client.create_topics(wanted, timeout_ms=30_000)
    for name, code, *rest in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise ConfigurationError(f"the broker refuses the topic {name}: {error.__name__} {rest[0] if rest else ''}")
    return sorted(missing)


def _new_topic(spec: TopicSpec, settings: KafkaSettings) -> NewTopic:
    configs = {"cleanup.policy": spec.cleanup_policy, "max.message.bytes": str(spec.max_message_bytes)}
    if spec.retention_ms is not None:
        configs["retention.ms"] = str(spec.retention_ms)
    return NewTopic(
        name=spec.name,
        num_partitions=settings.partitions,
        replication_factor=settings.replication_factor,
        topic_configs=configs,
    )
