"""What our consumer adds to Faust's, on the real subscription of aiokafka."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.types import TP

from streams.process.group_consumer import GroupConsumer

EVENTS = TP("events", 0)


class Thread(AIOKafkaConsumerThread):
    """Faust's thread, not started, with a subscription to one partition that was fetched once and lost its position."""

    def __init__(self) -> None:
        self.time_started = 0.0
        self.tp_fetch_request_timeout_secs = 30.0
        self.consumer: Any = SimpleNamespace(
            app=SimpleNamespace(monitor=object(), topics=SimpleNamespace(acks_enabled_for=len))
        )

    def _ensure_consumer(self) -> Any:
        subscriptions = SubscriptionState()
        subscriptions.assign_from_user([TopicPartition(*EVENTS)])
        state = subscriptions.subscription.assignment.state_value(TopicPartition(*EVENTS))
        state.reset_to(0)
        state.highwater, state.timestamp = 12, 1000
        state.await_reset(None)
        return SimpleNamespace(_fetcher=SimpleNamespace(_subscriptions=subscriptions))


def _made(kind: Any) -> Any:
    consumer = kind.__new__(kind)
    consumer._thread = Thread()
    return consumer


async def test_a_position_that_is_looked_for_ends_no_worker() -> None:
    """Where messages expired or their topic was deleted; Faust's own consumer would crash."""
    with pytest.raises(AssertionError):
        _made(Consumer).verify_event_path(2.0, EVENTS)
    _made(GroupConsumer).verify_event_path(2.0, EVENTS)
