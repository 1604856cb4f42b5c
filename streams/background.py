"""The loops that run beside a worker's consumer: sweeping, and watching what the metrics tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from faust.types import TP, AppT

from schemas.errors import BrokerOutage, Outage
from schemas.settings import SweepSettings
from streams.metrics import CONSUMER_LAG, OLDEST_PENDING_SECONDS
from streams.patience import BUCKET, Check, Outages, Patience
from streams.ports import Ports
from streams.scope import CHECK_TIMEOUT_S

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
    patience: Patience,
    leading: Callable[[], bool],
) -> None:
    """Take up what is due; as long as there is more, at once. Raises Outage when one outlasts the budget.

    Only the worker that leads does: what two take up is sent twice.
    """
    while True:
        taken_up = await patience.run(take_up) if leading() else 0
        if taken_up:
            log.info("swept", sweep=name, taken_up=taken_up)
        if taken_up < settings.batch_size:
            await asyncio.sleep(settings.interval_s)


async def watch_dependencies(checks: Mapping[str, Check], outages: Outages) -> None:
    """Notice outages while there is nothing to do, too: an object store's most quickly, see WATCH_OBJECTS_S."""
    async with asyncio.TaskGroup() as watching:
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


async def watch_oldest_pending(ports: Ports, patience: Patience) -> None:
    """Keep the age of the oldest content that the index may not agree about yet."""
    while True:
        since = await patience.run(ports.catalog.oldest_dirty)
        age = (ports.clock.now() - since).total_seconds() if since else 0.0
        OLDEST_PENDING_SECONDS.set(max(0.0, age))
        await asyncio.sleep(WATCH_INTERVAL_S)


async def fold_figures_for_ever(ports: Ports, patience: Patience, leading: Callable[[], bool]) -> None:
    """Add up what transactions changed of the kept figures, so that readers have few rows to add.

    Only the worker that leads does, for the others would wait for it.
    """
    while True:
        if leading():
            folded = await patience.run(lambda: ports.catalog.fold_figures(ports.clock.now()))
            log.debug("figures_folded", changes=folded)
        await asyncio.sleep(FOLD_INTERVAL_S)


def leads(app: AppT, topic: str) -> bool:
    """Whether this worker has the topic's first partition, which makes it the one that does what one has to do."""
    consumer = app.consumer
    assigned = consumer.assignment() if consumer is not None else ()
    return any(partition.topic == topic and partition.partition == 0 for partition in assigned)


async def watch_expired(app: AppT, on_expired: Callable[[], Awaitable[None]] | None = None) -> None:
    """Notice that the broker has deleted messages that this group never read. Each gap is told once."""
    told: set[tuple[object, int]] = set()
    while True:
        consumer: Any = app.consumer
        assigned = consumer.assignment() if consumer is not None else set()
        try:
            earliest = await consumer.earliest_offsets(*assigned) if assigned else {}
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("earliest_offsets_unknown", error=str(error))
            earliest = {}
        for partition, begin in earliest.items():
            committed = consumer._committed_offset.get(partition)  # noqa: SLF001 - Faust has no public reader
            if committed is not None and committed < begin and (partition, committed) not in told:
                told.add((partition, committed))
                log.error(
                    "messages_expired_unread",
                    topic=partition.topic,
                    partition=partition.partition,
                    count=begin - committed,
                )
                if on_expired is not None:
                    await on_expired()
        await asyncio.sleep(WATCH_EXPIRED_S)


async def watch_made_anew(app: AppT, on_made_anew: Callable[[], Awaitable[None]] | None = None) -> None:
    """Notice that a topic was deleted and made anew: its end lies before what was read of it, or before an earlier end.

    Faust would drop every message up to where it was. So the group is put back to the topic's beginning, and the worker
    has to start again. Raises BrokerOutage then.
    """
    former_ends: dict[TP, int] = {}
    while True:
        consumer: Any = app.consumer
        try:
            anew = await _made_anew(consumer, former_ends)
            if anew and on_made_anew is not None:
                # Before the group is put back, after which nobody notices again.
                await on_made_anew()
            if anew:
                await consumer._commit(await consumer.earliest_offsets(*anew))  # noqa: SLF001
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("end_offsets_unknown", error=str(error))
            anew = []
        if anew:
            topics = sorted({partition.topic for partition in anew})
            log.error("topic_made_anew", topics=topics)
            raise BrokerOutage(f"a topic was made anew ({', '.join(topics)}): it is read from its beginning")
        await asyncio.sleep(WATCH_INTERVAL_S)


async def _made_anew(consumer: Any, former_ends: dict[TP, int]) -> list[TP]:
    """The assigned partitions whose log ends before a place that it had reached; the other ends are kept as former."""
    assigned = consumer.assignment() if consumer is not None else ()
    # Faust has no public readers. Read before the broker is asked, so that they can't be ahead of its answer.
    reached = {
        partition: max(
            consumer._committed_offset[partition] or 0,  # noqa: SLF001
            consumer._read_offset[partition] or 0,  # noqa: SLF001
            former_ends.get(partition, 0),
        )
        for partition in assigned
    }
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
    consumer: Any = app.consumer
    lags: dict[tuple[str, int], int] = {}
    for partition in consumer.assignment() if consumer is not None else ():
        end = consumer.highwater(partition)
        # Faust has no public reader. Nothing committed yet counts as nothing read.
        committed = consumer._committed_offset.get(partition)  # noqa: SLF001
        if end is not None:
            lags[partition.topic, partition.partition] = max(0, end - (committed or 0))
    return lags
