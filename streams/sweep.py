"""Take up what a message should have finished but did not: the marks in SQL are the to-do list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import batched

from schemas import lifecycle
from schemas.records import ContentRecord
from streams import metrics
from streams.hints import content_hint
from streams.ports import LOCKED_AT_ONCE, Ports
from streams.publish import publish_images


async def sweep(ports: Ports) -> int:
    """Send again what is due, once; the number of contents and images taken up. Raises Outage.

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
    return len(contents) + len(image_ids)


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
