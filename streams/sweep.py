"""Take up what a message should have finished but did not: the marks in SQL are the to-do list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import batched

from schemas import lifecycle
from schemas.records import ContentRecord
from streams import metrics
from streams.hints import content_hint, object_hint
from streams.ports import LOCKED_AT_ONCE, Ports
from streams.publish import publish_images


async def sweep(ports: Ports) -> int:
    """Send again what is due, once, and have tried again what could not be read; how much was taken up. Raises Outage.

    An image that is still pending by then is published as that: nobody has to be told of what lasts a moment.
    """
    now = ports.clock.now()
    contents = await due_contents(now, ports)
    await ports.outbox.send([content_hint(content.id, ports) for content in contents])
    await postpone(contents, now, ports)
    metrics.RESENT.labels("content").inc(len(contents))
    image_ids = await ports.catalog.due_images(now, limit=ports.sweep.batch_size)
    await publish_images(image_ids, ports)
    metrics.RESENT.labels("image").inc(len(image_ids))
    return len(contents) + len(image_ids) + await retry_unreadable(now, ports)


async def retry_unreadable(now: datetime, ports: Ports) -> int:
    """Ask for another look at what could not be read, where that is due; how much. Raises Outage."""
    images = await ports.catalog.unreadable_images(now, limit=ports.sweep.batch_size)
    contents = await ports.catalog.unreadable_contents(now, limit=ports.sweep.batch_size)
    hints = [object_hint(image.ref, "Retry", ports) for image in images]
    await ports.outbox.send([*hints, *(content_hint(content.id, ports, retry=True) for content in contents)])
    image_dues = {image.id: _next_retry(image.updated_at, now, ports) for image in images}
    for some in batched(image_dues, LOCKED_AT_ONCE):
        async with ports.catalog.transaction() as tx:
            found = await tx.lock_images(some)
            await tx.save_images([lifecycle.postpone_retry(row, image_dues[row.id]) for row in found.values()])
    content_dues = {content.id: _next_retry(content.indexed_at, now, ports) for content in contents}
    for part in batched(content_dues, LOCKED_AT_ONCE):
        async with ports.catalog.transaction() as tx:
            rows = await tx.lock_contents(part)
            await tx.save_contents([lifecycle.postpone_retry(row, content_dues[row.id]) for row in rows.values()])
    metrics.UNREADABLE_RETRIES.inc(len(images) + len(contents))
    return len(images) + len(contents)


def _next_retry(since: datetime | None, now: datetime, ports: Ports) -> datetime:
    """So long again as it has lasted, within bounds: the waits double."""
    lasted = (now - since).total_seconds() if since else 0.0
    longest = ports.sweep.unreadable_max_wait_s
    return now + timedelta(seconds=min(max(lasted, ports.sweep.unreadable_first_wait_s), longest))


async def due_contents(now: datetime, ports: Ports) -> list[ContentRecord]:
    """The contents that are to be sent again now."""
    return await ports.catalog.due_contents(now, limit=ports.sweep.batch_size)


async def postpone(contents: Sequence[ContentRecord], now: datetime, ports: Ports) -> None:
    """Say when those that were sent are to be sent again."""
    for part in batched(contents, LOCKED_AT_ONCE):
        due = {content.id: _next_due(content, now, ports) for content in part}
        async with ports.catalog.transaction() as tx:
            rows = await tx.lock_contents(due)
            await tx.save_contents([lifecycle.postpone(row, due[row.id]) for row in rows.values()])


def _next_due(content: ContentRecord, now: datetime, ports: Ports) -> datetime:
    """Twice the age from now on, within bounds: a long backlog is not made longer by sending all of it again."""
    age = (now - content.dirty_since).total_seconds() if content.dirty_since else 0.0
    return now + timedelta(seconds=min(max(age, ports.sweep.first_wait_s), ports.sweep.max_wait_s))
