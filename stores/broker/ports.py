"""What Twinlens needs of Kafka for sending. Adapters: ``kafka``, ``memory``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class OutgoingMessage(NamedTuple):
    """A message for a topic; a ``value`` of None deletes the key from a compacted topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = {}


class Outbox(Protocol):
    """Sending messages."""

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        """Send the messages and wait until the broker has accepted all of them, in order per key.

        Raises BrokerOutage if it did not, and MessageRefused if it never will, for one of them; some may have been
        accepted then.
        """

    async def check(self) -> None:
        """Raises BrokerOutage unless a broker answers."""


class Backlog(Protocol):
    """How far the readers of a topic have come."""

    async def has_passed(self, moment: datetime) -> bool:
        """Whether every message that was sent before the moment is handled, or was deleted unread.

        Raises BrokerOutage.
        """
