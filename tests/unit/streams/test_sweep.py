"""The sweep: what is due is sent again, ever more rarely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from schemas.errors import BrokerOutage
from schemas.messages import ContentChanged, ImageChanged
from schemas.records import ContentId, ContentState
from schemas.settings import PublishSettings, SweepSettings
from stores.broker.memory import MemoryBacklog, MemoryOutbox
from stores.broker.ports import OutgoingMessage
from stores.catalog.memory import MemoryCatalog
from streams.assembly import Ports, for_sweep
from streams.repair.sweep import sweep
from tests.harness.catalogs import add_content, add_image, content, content_id
from tests.harness.installation import BEGINNING, ManualClock, ports_in_memory


@pytest.fixture
def ports() -> Ports:
    """Ports in memory."""
    return ports_in_memory(sweep=SweepSettings(first_wait_s=30, max_wait_s=900, batch_size=3))


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
    assert await sweep(for_sweep(ports)) == 0
    assert _sent(ports) == []


async def test_the_waits_double_up_to_the_longest(ports: Ports) -> None:
    """A content that stays dirty is sent after 30 s, then after as long again as it has waited, at most 15 minutes."""
    await add_content(ports.catalog, "a", dirty_since=BEGINNING, resend_due=BEGINNING + timedelta(seconds=30))
    sent: list[int] = []
    for second in range(6000):
        _advance(ports, 1)
        if await sweep(for_sweep(ports)):
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
    assert await sweep(for_sweep(ports)) == 3
    assert await sweep(for_sweep(ports)) == 2
    assert await sweep(for_sweep(ports)) == 0
    assert _sent(ports) == [content_id(letter) for letter in "edcba"]


async def test_what_still_waits_in_the_queue_is_not_sent_again(ports: Ports) -> None:
    """Only what the index workers have passed by can be lost; when they come further, more is found out."""
    assert isinstance(ports.backlog, MemoryBacklog)
    for number, letter in enumerate("abc"):
        due = BEGINNING + timedelta(seconds=number)
        await add_content(ports.catalog, letter, dirty_since=BEGINNING, resend_due=due)
    _advance(ports, 60)
    ports.backlog.waiting_since = BEGINNING - timedelta(seconds=1)
    assert await sweep(for_sweep(ports)) == 0
    ports.backlog.waiting_since = BEGINNING
    assert await sweep(for_sweep(ports)) == 1
    ports.backlog.waiting_since = None
    assert await sweep(for_sweep(ports)) == 2
    assert _sent(ports) == [content_id(letter) for letter in "abc"]


async def test_a_long_backlog_is_hardly_sent_again(ports: Ports) -> None:
    """Of 100,000 contents that came at once, 1 in 1,000 of which lost its message, less than 1 % is sent again.

    Index workers finish 18 a second, so that the last one waits for an hour and a half. The model has 1/50 of the
    contents at 1/50 of that rate: the waits, which decide what is sent, are the same.
    """
    number, per_step, step_s = 2000, 18, 50
    catalog, backlog, outbox = ports.catalog, ports.backlog, ports.outbox
    assert isinstance(catalog, MemoryCatalog)
    assert isinstance(backlog, MemoryBacklog)
    assert isinstance(outbox, MemoryOutbox)
    ports = replace(ports, sweep=SweepSettings())
    for index in range(number):
        row = content("a", dirty_since=BEGINNING, resend_due=BEGINNING + timedelta(seconds=30), vector_id=index)
        row = replace(row, sha256=f"{index:064x}")
        catalog.content_rows[row.id] = row
    queue = [(BEGINNING, each) for each in catalog.content_rows]
    del queue[::1000]
    while catalog.content_rows:
        read, queue = queue[:per_step], queue[per_step:]
        for _, each in read:
            catalog.content_rows.pop(each, None)
        _advance(ports, step_s)
        backlog.waiting_since = queue[0][0] if queue else None
        sent = len(outbox.sent)
        await sweep(for_sweep(ports))
        queue += [(ports.clock.now(), each) for each in _sent(ports)[sent:]]
    assert ports.clock.now() - BEGINNING < timedelta(seconds=number / per_step * step_s * 1.02 + 60)
    assert 0 < len(outbox.sent) < number / 100


async def test_what_cannot_be_sent_is_put_off_alone(ports: Ports) -> None:
    """A message that the broker will never take neither keeps its neighbours waiting nor ends the sweep."""
    await add_content(ports.catalog, "a", state=ContentState.INDEXED)
    for number, letter in enumerate("bcd"):
        await add_image(ports.catalog, f"k{number}", "a", version=5, publish_due=BEGINNING, updated_at=BEGINNING)
        await add_content(ports.catalog, letter, dirty_since=BEGINNING, resend_due=BEGINNING)
    outbox = RefusingOutbox(b"k1", content_id("c").sha256.encode())
    ports = replace(ports, outbox=outbox)
    assert await sweep(for_sweep(ports)) == 6
    assert await sweep(for_sweep(ports)) == 0
    keys = sorted(message.key or b"" for message in outbox.sent)
    assert keys == sorted([b"pictures/k0", b"pictures/k2", *(f"pictures/{letter * 64}".encode() for letter in "bd")])
    _advance(ports, 31)
    outbox.refused = ()
    assert await sweep(for_sweep(ports)) == 4
    assert outbox.sent[-1].key == b"pictures/k1"


class RefusingOutbox(MemoryOutbox):
    """Refuses messages whose key contains one of these, for a reason that waiting does not cure."""

    def __init__(self, *refused: bytes) -> None:
        super().__init__()
        self.refused: tuple[bytes, ...] = refused

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        """See Outbox."""
        if any(part in (message.key or b"") for message in messages for part in self.refused):
            raise ValueError("it is too big")
        await super().send(messages)


async def test_a_removed_image_is_erased_after_a_stated_time(ports: Ports) -> None:
    """A null value follows its snapshot on the compacted topic, once, and then its row goes."""
    catalog, outbox = ports.catalog, ports.outbox
    assert isinstance(outbox, MemoryOutbox)
    assert isinstance(catalog, MemoryCatalog)
    ports = replace(ports, publish=PublishSettings(tombstone_after_hours=1))
    await add_image(catalog, "k", etag=None, version=5, publish_due=BEGINNING)
    moments = []
    for minute in range(70):
        before = len(outbox.sent)
        await sweep(for_sweep(ports))
        moments += [(minute, message.value is None) for message in outbox.sent[before:]]
        _advance(ports, 60)
    assert moments == [(0, False), (60, True)]
    assert not catalog.image_rows


async def test_unpublished_images_are_published(ports: Ports) -> None:
    """Whoever should have published an image may have died."""
    await add_content(ports.catalog, "a", state=ContentState.INDEXED)
    await add_image(ports.catalog, "k", "a", version=5, publish_due=BEGINNING)
    assert await sweep(for_sweep(ports)) == 1
    assert isinstance(ports.outbox, MemoryOutbox)
    change = ImageChanged.decode(ports.outbox.to(ports.topics.image_changes)[0].value)
    assert (change.key, change.state) == ("k", "indexed")
    assert await sweep(for_sweep(ports)) == 0


async def test_what_could_not_be_sent_stays_due(ports: Ports) -> None:
    """Nothing is postponed that the broker has not accepted."""
    await add_content(ports.catalog, "a", dirty_since=BEGINNING, resend_due=BEGINNING)
    assert isinstance(ports.outbox, MemoryOutbox)
    ports.outbox.outage = True
    with pytest.raises(BrokerOutage):
        await sweep(for_sweep(ports))
    ports.outbox.outage = False
    assert await sweep(for_sweep(ports)) == 1
    assert _sent(ports) == [content_id("a")]
