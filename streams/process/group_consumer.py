"""Faust's Kafka consumer, with readers of how far its group has come: Faust keeps that, and tells nobody."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar, cast

from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP, AppT


class GroupConsumer(Consumer):
    """A consumer of one group."""

    def committed(self, partition: TP) -> int | None:
        """The offset that the group has committed, as far as this consumer knows; None if none."""
        offset: int | None = self._committed_offset.get(partition)
        return offset

    def reached(self, partition: TP) -> int:
        """The furthest offset that was committed or read; 0 if none."""
        return max(self._committed_offset.get(partition) or 0, self._read_offset.get(partition) or 0)

    async def put_back(self, offsets: Mapping[TP, int]) -> None:
        """Commit these offsets for the group, even if they lie before what it has read. Raises KafkaError."""
        await self._commit(offsets)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Log what is slow. Faust asks for a position here that aiokafka does not have while it looks for another one.

        That is so for a moment after messages expired or their topic was deleted; the worker ended by it.
        """
        with suppress(AssertionError):
            super().verify_event_path(now, tp)


class GroupTransport(Transport):
    """What Faust makes its consumer with."""

    Consumer: ClassVar[type[GroupConsumer]] = GroupConsumer


def use_group_consumer(app: AppT) -> None:
    """Make the app, which consumes nothing yet, take a ``GroupConsumer``."""
    app.transport = GroupTransport(app.conf.broker_consumer, app)


def group_consumer(app: AppT) -> GroupConsumer | None:
    """The consumer of an app that ``use_group_consumer`` was called for; None before it has started."""
    return cast("GroupConsumer | None", app.consumer)
