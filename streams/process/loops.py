"""The loops that run beside a worker's consumer: sweeping, and watching what the metrics tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiokafka.errors import KafkaError
from faust.types import TP, AppT

from schemas.errors import BrokerOutage, Outage
from schemas.settings import SweepSettings
from schemas.task_groups import task_group
from stores.catalog.ports import Catalog
from streams.common.backoff import BUCKET, Check, OutageRetry, Outages
from streams.common.metrics import CONSUMER_LAG, OLDEST_PENDING_SECONDS
from streams.common.ports import Clock
from streams.common.scope import CHECK_TIMEOUT_S
from streams.process.group_consumer import GroupConsumer, group_consumer

WATCH_INTERVAL_S = 5.0
WATCH_EXPIRED_S = 60.0
FOLD_INTERVAL_S = 2.0
WATCH_OBJECTS_S = 1.0
"""An object store that was restarted between two looks may have lost events without anybody knowing."""
LATE_CHECKS = 2
"""Checks in a row that a dependency does not answer in time, before it counts as down: one may be our own delay."""

log = structlog.get_logger(__name__)


async def sweep_for_ever(
    name: str,
    take_up: Callable[[], Awaitable[int]],
    settings: SweepSettings,
    retry: OutageRetry,
    leading: Callable[[], bool],
) -> None:
    """Take up what is due; as long as there is more, at once. Raises Outage when one outlasts the budget.

    Only the worker that leads does: what two take up is sent twice.
    """
    while True:
        taken_up = await retry.run(take_up) if leading() else 0
        if taken_up:
            log.info("swept", sweep=name, taken_up=taken_up)
        if taken_up < settings.batch_size:
            await asyncio.sleep(settings.interval_s)


async def watch_dependencies(checks: Mapping[str, Check], outages: Outages) -> None:
    """Notice outages while there is nothing to do, too: an object store's most quickly, see WATCH_OBJECTS_S."""
    async with task_group() as watching:
        for name, check in checks.items():
            every = WATCH_OBJECTS_S if name == "objects" else WATCH_INTERVAL_S
            watching.create_task(_watch_dependency(name, check, outages, every))


async def _watch_dependency(name: str, check: Check, outages: Outages, every: float) -> None:
    late = 0
    while True:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await check()
        except Outage as error:
            # The check of a bucket may find that it is the server that is away; that has a check of its own.
            if error.dependency == name:
                outages.began(name, str(error))
        except TimeoutError:
            late += 1
            if late >= LATE_CHECKS and not name.startswith(BUCKET):
                outages.began(name, f"no answer within {CHECK_TIMEOUT_S:g} s, {late} times in a row")
        else:
            late = 0
            outages.over(name)
        await asyncio.sleep(every)


async def watch_oldest_pending(catalog: Catalog, clock: Clock, retry: OutageRetry) -> None:
    """Keep the age of the oldest content that the index may not agree about yet."""
    while True:
        since = await retry.run(catalog.oldest_dirty)
        age = (clock.now() - since).total_seconds() if since else 0.0
        OLDEST_PENDING_SECONDS.set(max(0.0, age))
        await asyncio.sleep(WATCH_INTERVAL_S)


async def fold_figures_for_ever(
    catalog: Catalog, clock: Clock, retry: OutageRetry, leading: Callable[[], bool]
) -> None:
    """Add up what transactions changed of the kept figures, so that readers have few rows to add.

    Only the worker that leads does, for the others would wait for it.
    """
    while True:
        if leading():
            folded = await retry.run(lambda: catalog.fold_figures(clock.now()))
            log.debug("figures_folded", changes=folded)
        await asyncio.sleep(FOLD_INTERVAL_S)


def leads(app: AppT, topic: str) -> bool:
    """Whether this worker has the topic's first partition, which makes it the one that does what one has to do."""
    consumer = group_consumer(app)
    assigned = consumer.assignment() if consumer is not None else ()
    return any(partition.topic == topic and partition.partition == 0 for partition in assigned)


async def watch_expired(app: AppT, on_expired: Callable[[], Awaitable[None]] | None = None) -> None:
    """Notice that the broker has deleted messages that this group never read. Each gap is told once."""
    reported: set[tuple[object, int]] = set()
    while True:
        consumer = group_consumer(app)
        for partition, begin, committed in await _beginnings(consumer) if consumer is not None else ():
            if committed is not None and committed < begin and (partition, committed) not in reported:
                reported.add((partition, committed))
                log.error(
                    "messages_expired_unread",
                    topic=partition.topic,
                    partition=partition.partition,
                    count=begin - committed,
                )
                if on_expired is not None:
                    await on_expired()
        await asyncio.sleep(WATCH_EXPIRED_S)


async def _beginnings(consumer: GroupConsumer) -> list[tuple[TP, int, int | None]]:
    """The first offset of each assigned partition, and what was committed of it; none while the broker is away."""
    assigned = consumer.assignment()
    try:
        earliest = await consumer.earliest_offsets(*assigned) if assigned else {}
    except (KafkaError, OSError, TimeoutError) as error:
        log.debug("earliest_offsets_unknown", error=str(error))
        return []
    return [(partition, begin, consumer.committed(partition)) for partition, begin in earliest.items()]


async def watch_made_anew(app: AppT, on_made_anew: Callable[[], Awaitable[None]] | None = None) -> None:
    """Notice that a topic was deleted and made anew: its end lies before what was read of it, or before an earlier end.

    Faust would drop every message up to where it was. So the group is put back to the topic's beginning, and the worker
    has to start again. Raises BrokerOutage then.
    """
    former_ends: dict[TP, int] = {}
    while True:
        consumer = group_consumer(app)
        try:
            anew = await _made_anew(consumer, former_ends) if consumer is not None else []
            if consumer is not None and anew:
                if on_made_anew is not None:
                    # Before the group is put back, after which nobody notices again.
                    await on_made_anew()
                await consumer.put_back(await consumer.earliest_offsets(*anew))
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("end_offsets_unknown", error=str(error))
            anew = []
        if anew:
            topics = sorted({partition.topic for partition in anew})
            log.error("topic_made_anew", topics=topics)
            raise BrokerOutage(f"a topic was made anew ({', '.join(topics)}): it is read from its beginning")
        await asyncio.sleep(WATCH_INTERVAL_S)


async def _made_anew(consumer: GroupConsumer, former_ends: dict[TP, int]) -> list[TP]:
    """The assigned partitions whose log ends before a place that it had reached; the other ends are kept as former."""
    assigned = consumer.assignment()
    # Read before the broker is asked, so that they can't be ahead of its answer.
    reached = {partition: max(consumer.reached(partition), former_ends.get(partition, 0)) for partition in assigned}
    ends = await consumer.highwaters(*assigned) if assigned else {}
    known = {partition: end for partition, end in ends.items() if end is not None}
    anew = [partition for partition, end in known.items() if end < reached[partition]]
    former_ends |= {partition: end for partition, end in known.items() if partition not in anew}
    return anew


async def watch_lag(app: AppT) -> None:
    """Keep the consumer lag of each assigned partition; those that went to another worker are told by that one."""
    while True:
        lags = _lags(app)
        CONSUMER_LAG.clear()
        for labels, lag in lags.items():
            CONSUMER_LAG.labels(*labels).set(lag)
        await asyncio.sleep(WATCH_INTERVAL_S)


def backlog(app: AppT, topic: str) -> int:
    """Messages of a topic that wait for this worker, or that it has not acknowledged yet."""
    return sum(lag for (of_topic, _), lag in _lags(app).items() if of_topic == topic)


def _lags(app: AppT) -> dict[tuple[str, int], int]:
    """The consumer lag of each assigned partition, by topic and number."""
    consumer = group_consumer(app)
    if consumer is None:
        return {}
    ends = {partition: consumer.highwater(partition) for partition in consumer.assignment()}
    # Nothing committed yet counts as nothing read.
    return {
        (partition.topic, partition.partition): max(0, end - (consumer.committed(partition) or 0))
        for partition, end in ends.items()
        if end is not None
    }
