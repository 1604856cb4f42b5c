"""Take up what a message should have finished but did not: the marks in SQL are the to-do list."""

from __future__ import annotations

from datetime import datetime, timedelta

from schemas.messages import ContentChanged, encode_key
from schemas.records import ContentRecord
from stores.broker.ports import OutgoingMessage
from streams import metrics
from streams.ports import Ports
from streams.publish import publish_images


async def sweep(ports: Ports) -> int:
    """Send again what is due, once; the number of contents and images taken up. Raises Outage."""
    now = ports.clock.now()
    contents = await ports.catalog.due_contents(now, limit=ports.sweep.batch_size)
    await ports.outbox.send([_message(content, ports) for content in contents])
    await ports.catalog.postpone_contents([(content.id, _next_due(content, now, ports)) for content in contents])
    metrics.RESENT.labels("content").inc(len(contents))
    image_ids = await ports.catalog.due_images(now, limit=ports.sweep.batch_size)
    await publish_images(image_ids, ports)
    metrics.RESENT.labels("image").inc(len(image_ids))
    return len(contents) + len(image_ids)


def _message(content: ContentRecord, ports: Ports) -> OutgoingMessage:
    message = ContentChanged(bucket=content.bucket, sha256=content.sha256)
    return OutgoingMessage(ports.topics.contents, encode_key(content.id), message.encode())


def _next_due(content: ContentRecord, now: datetime, ports: Ports) -> datetime:
    """Twice the age from now on, within bounds: a long backlog is not made longer by sending all of it again."""
    age = (now - content.dirty_since).total_seconds() if content.dirty_since else 0.0
    return now + timedelta(seconds=min(max(age, ports.sweep.first_wait_s), ports.sweep.max_wait_s))
