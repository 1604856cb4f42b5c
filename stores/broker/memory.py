"""An outbox in memory, for unit tests and simulations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from schemas.errors import BrokerOutage
from stores.broker.ports import Backlog, Outbox, OutgoingMessage


class MemoryOutbox(Outbox):
    """``sent`` is what the broker accepted, in order; ``outage`` makes every call fail."""

    def __init__(self) -> None:
        self.sent: list[OutgoingMessage] = []
        self.outage = False

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        for message in messages:
            await self.check()
            self.sent.append(message)

    async def check(self) -> None:
        await asyncio.sleep(0)
        if self.outage:
            raise BrokerOutage("the broker is away")

    def to(self, topic: str) -> list[OutgoingMessage]:
        """What was sent to one topic."""
        return [message for message in self.sent if message.topic == topic]


class MemoryBacklog(Backlog):
    """``waiting_since`` is when the oldest message was sent that nobody has handled; None for an empty queue."""

    def __init__(self) -> None:
        self.waiting_since: datetime | None = None

    async def has_passed(self, moment: datetime) -> bool:
        await asyncio.sleep(0)
        return self.waiting_since is None or self.waiting_since >= moment
