"""The sweep: what is due is sent again, ever more rarely."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from schemas.errors import BrokerOutage
from schemas.messages import ContentChanged, ImageChanged
from schemas.records import ContentId, ContentState
from schemas.settings import LimitSettings, SweepSettings
from schemas.topics import Topics
from stores.broker.memory import MemoryOutbox
from stores.catalog.memory import MemoryCatalog
from stores.objects.memory import MemoryObjects
from stores.vectors.memory import MemoryVectors
from streams.ports import Ports
from streams.sweep import sweep
from tests.contracts.catalogs import add_content, add_image, content_id

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.moment = BEGINNING

    def now(self) -> datetime:
        """The moment."""
        return self.moment


@pytest.fixture
def ports() -> Ports:
    """Ports in memory."""
    return Ports(
        objects=MemoryObjects(["pictures"]),
        catalog=MemoryCatalog(),
        vectors=MemoryVectors(model_id="m", dimension=2),
        outbox=MemoryOutbox(),
        topics=Topics(),
        limits=LimitSettings(),
        sweep=SweepSettings(first_wait_s=30, max_wait_s=900, batch_size=3),
        copy_threshold=50,
        clock=ManualClock(),
    )


def _sent(ports: Ports) -> list[ContentId]:
    assert isinstance(ports.outbox, MemoryOutbox)
    return [ContentChanged.decode(message.value).content_id for message in ports.outbox.to(ports.topics.contents)]


def _advance(ports: Ports, seconds: float) -> None:
    assert isinstance(ports.clock, ManualClock)
    ports.clock.moment += timedelta(seconds=seconds)


async def test_what_is_not_due_is_left_alone(ports: Ports) -> None:
    """A message may still be on its way."""
    await add_content(ports.catalog, "a", dirty_since=BEGINNING, resend_due=BEGINNING + timedelta(seconds=30))
    _advance(ports, 29)
    assert await sweep(ports) == 0
    assert _sent(ports) == []


async def test_the_waits_double_up_to_the_longest(ports: Ports) -> None:
    """A content that stays dirty is sent after 30 s, then after as long again as it has waited, at most 15 minutes."""
    await add_content(ports.catalog, "a", dirty_since=BEGINNING, resend_due=BEGINNING + timedelta(seconds=30))
    sent: list[int] = []
    for second in range(6000):
        _advance(ports, 1)
        if await sweep(ports):
            sent.append(second + 1)
    waits = [later - earlier for earlier, later in pairwise(sent)]
    assert sent[0] == 30
    assert waits[:5] == [30, 60, 120, 240, 480]
    assert set(waits[5:]) == {900}


async def test_a_long_list_is_taken_in_parts(ports: Ports) -> None:
    """One look sends no more than a batch, the oldest first, and the next one goes on."""
    for number, letter in enumerate("edcba"):
        due = BEGINNING + timedelta(seconds=number)
        await add_content(ports.catalog, letter, dirty_since=BEGINNING, resend_due=due)
    _advance(ports, 60)
    assert await sweep(ports) == 3
    assert await sweep(ports) == 2
    assert await sweep(ports) == 0
    assert _sent(ports) == [content_id(letter) for letter in "edcba"]


async def test_unpublished_images_are_published(ports: Ports) -> None:
    """Whoever should have published an image may have died."""
    await add_content(ports.catalog, "a", state=ContentState.INDEXED)
    await add_image(ports.catalog, "k", "a", version=5, publish_due=BEGINNING)
    assert await sweep(ports) == 1
    assert isinstance(ports.outbox, MemoryOutbox)
    change = ImageChanged.decode(ports.outbox.to(ports.topics.image_changes)[0].value)
    assert (change.key, change.state) == ("k", "indexed")
    assert await sweep(ports) == 0


async def test_what_could_not_be_sent_stays_due(ports: Ports) -> None:
    """Nothing is postponed that the broker has not accepted."""
    await add_content(ports.catalog, "a", dirty_since=BEGINNING, resend_due=BEGINNING)
    assert isinstance(ports.outbox, MemoryOutbox)
    ports.outbox.outage = True
    with pytest.raises(BrokerOutage):
        await sweep(ports)
    ports.outbox.outage = False
    assert await sweep(ports) == 1
    assert _sent(ports) == [content_id("a")]
