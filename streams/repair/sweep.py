"""Take up what a message should have finished but did not: the marks in SQL are the to-do list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched

import structlog

from schemas import lifecycle
from schemas.records import ContentRecord, ImageRecord
from schemas.settings import SweepSettings
from schemas.topics import Topics
from stores.broker.ports import Backlog, Outbox
from stores.catalog.ports import Catalog
from streams.common import metrics
from streams.common.concurrency import halving
from streams.common.hints import content_hint, object_hint
from streams.common.ports import LOCKED_AT_ONCE, Clock
from streams.publish import PublishPorts, publish_images

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SweepPorts:
    """What the sweep touches."""

    catalog: Catalog
    publishing: PublishPorts
    outbox: Outbox
    backlog: Backlog
    """Of the contents topic."""
    topics: Topics
    clock: Clock
    settings: SweepSettings


async def sweep(ports: SweepPorts) -> int:
    """Send again what is due, once, and have tried again what could not be read; how much was taken up. Raises Outage.

    What still waits in the queue is not due. An image that is still pending by then is published as that: nobody has
    to be told of what lasts a moment. What can't be sent for a reason that is a bug is put off alone.
    """
    now = ports.clock.now()
    contents = await passed_by(await due_contents(now, ports), ports.backlog)

    async def send(part: Sequence[ContentRecord]) -> None:
        await ports.outbox.send([content_hint(content.id, ports.topics) for content in part])

    for content, error in await halving(contents, send):
        _failed("content", error, bucket=content.bucket, sha256=content.sha256)
    await postpone(contents, now, ports.catalog, ports.settings)
    metrics.RESENT.labels("content").inc(len(contents))
    images = await ports.catalog.due_images(now, limit=ports.settings.batch_size)

    async def publish(part: Sequence[ImageRecord]) -> None:
        await publish_images([image.id for image in part], ports.publishing)

    failed = await halving(images, publish)
    for image, error in failed:
        _failed("image", error, bucket=image.bucket, key=image.key)
    await _put_off([image for image, _ in failed], now, ports.catalog, ports.settings)
    metrics.RESENT.labels("image").inc(sum(not lifecycle.is_at_rest(image) for image in images))
    return len(contents) + len(images) + await retry_unreadable(now, ports)


async def retry_unreadable(now: datetime, ports: SweepPorts) -> int:
    """Ask for another look at what could not be read, where that is due; how much. Raises Outage."""
    images = await ports.catalog.unreadable_images(now, limit=ports.settings.batch_size)
    contents = await ports.catalog.unreadable_contents(now, limit=ports.settings.batch_size)
    hints = [object_hint(image.ref, "Retry", ports.topics, ports.clock) for image in images]
    await ports.outbox.send([*hints, *(content_hint(content.id, ports.topics, retry=True) for content in contents)])
    image_dues = {image.id: _next_retry(image.updated_at, now, ports.settings) for image in images}
    for some in batched(image_dues, LOCKED_AT_ONCE):
        async with ports.catalog.transaction() as tx:
            found = await tx.lock_images(some)
            await tx.save_images([lifecycle.postpone_retry(row, image_dues[row.id]) for row in found.values()])
    content_dues = {content.id: _next_retry(content.indexed_at, now, ports.settings) for content in contents}
    for part in batched(content_dues, LOCKED_AT_ONCE):
        async with ports.catalog.transaction() as tx:
            rows = await tx.lock_contents(part)
            await tx.save_contents([lifecycle.postpone_retry(row, content_dues[row.id]) for row in rows.values()])
    metrics.UNREADABLE_RETRIES.inc(len(images) + len(contents))
    return len(images) + len(contents)


def _next_retry(since: datetime | None, now: datetime, settings: SweepSettings) -> datetime:
    """So long again as it has lasted, within bounds: the waits double."""
    lasted = (now - since).total_seconds() if since else 0.0
    longest = settings.unreadable_max_wait_s
    return now + timedelta(seconds=min(max(lasted, settings.unreadable_first_wait_s), longest))


async def due_contents(now: datetime, ports: SweepPorts) -> list[ContentRecord]:
    """The contents that are to be sent again now, unless they still wait in the queue; oldest first."""
    return await ports.catalog.due_contents(now, limit=ports.settings.batch_size)


async def passed_by(contents: Sequence[ContentRecord], backlog: Backlog) -> Sequence[ContentRecord]:
    """The first of these contents: those whose message the index workers must have come by, if it was not lost.

    Sent again, a backlog would only become longer. The others have their turn when the workers have come so far.
    """
    if not contents or not await _passed(contents[0], backlog):
        return []
    while not await _passed(contents[-1], backlog):
        contents = contents[: len(contents) // 2]
    return contents


async def _passed(content: ContentRecord, backlog: Backlog) -> bool:
    """Whether everything that was sent before the content fell due is handled: its own message was, long before."""
    assert content.resend_due is not None  # It is due.
    return await backlog.has_passed(content.resend_due)


async def postpone(contents: Sequence[ContentRecord], now: datetime, catalog: Catalog, settings: SweepSettings) -> None:
    """Say when those that were sent are to be sent again."""
    for part in batched(contents, LOCKED_AT_ONCE):
        due = {content.id: _next_due(content.dirty_since, now, settings) for content in part}
        async with catalog.transaction() as tx:
            rows = await tx.lock_contents(due)
            await tx.save_contents([lifecycle.postpone(row, due[row.id]) for row in rows.values()])


async def _put_off(images: Sequence[ImageRecord], now: datetime, catalog: Catalog, settings: SweepSettings) -> None:
    """Say when those that could not be published are to be tried again, so that they stand in nobody's way."""
    for part in batched(images, LOCKED_AT_ONCE):
        due = {image.id: _next_due(image.updated_at, now, settings) for image in part}
        async with catalog.transaction() as tx:
            rows = await tx.lock_images(due)
            await tx.save_images([lifecycle.put_off_publishing(row, due[row.id]) for row in rows.values()])


def _next_due(since: datetime | None, now: datetime, settings: SweepSettings) -> datetime:
    """Twice the age from now on, within bounds: what fails for long is tried ever more rarely."""
    age = (now - since).total_seconds() if since else 0.0
    return now + timedelta(seconds=min(max(age, settings.first_wait_s), settings.max_wait_s))


def _failed(kind: str, error: Exception, **subject: str) -> None:
    log.error("sweep_failed", kind=kind, exc_info=error, **subject)
    metrics.SWEEP_FAILURES.labels(kind).inc()
