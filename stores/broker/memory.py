"""An outbox in memory, for unit tests and simulations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from schemas.errors import BrokerOutage
from stores.broker.ports import Outbox, OutgoingMessage


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
