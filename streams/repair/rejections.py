"""What was rejected: listing it, and asking for another look."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched

from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef, Reason
from schemas.topics import Topics
from stores.broker.ports import Outbox, OutgoingMessage
from stores.catalog.ports import Catalog, Reference
from streams.common.hints import content_hint, object_hint
from streams.common.ports import Clock

PAGE = 1000
UNKNOWN = Reason("unknown")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejected content or object."""

    subject: ContentId | ObjectRef
    reason: Reason
    decided_at: datetime | None
    attempts: int
    keys: tuple[str, ...] = ()
    """Some object that holds it."""


async def rejected(
    catalog: Catalog,
    bucket: str,
    *,
    reason: str | None = None,
    looked_at: Callable[[int], object] = lambda _number: None,
) -> AsyncIterator[Rejected]:
    """Everything that is rejected in a bucket, objects first, in bounded memory; ``reason`` is a slug.

    All rows of the bucket are read; ``looked_at`` is told how many each step has looked at.
    """
    after = ""
    while images := await catalog.page_of_images(bucket, prefix="", after=after, limit=PAGE):
        for image in images:
            if image.reason is not None and reason in (None, image.reason.slug):
                yield _object(image)
        after = images[-1].key
        looked_at(len(images))
    after = ""
    while contents := await catalog.page_of_contents(bucket, after=after, limit=PAGE):
        refused = [row for row in contents if row.state is ContentState.REJECTED]
        async with catalog.transaction() as tx:
            oldest = await tx.oldest_references([row.id for row in refused])
        for row in refused:
            if reason in (None, (row.reason or UNKNOWN).slug):
                yield _content(row, oldest.get(row.id, []))
        after = contents[-1].sha256
        looked_at(len(contents))


def _object(image: ImageRecord) -> Rejected:
    return Rejected(image.ref, image.reason or UNKNOWN, image.updated_at, attempts=1, keys=(image.key,))


def _content(content: ContentRecord, references: Sequence[Reference]) -> Rejected:
    keys = tuple(reference.key for reference in references)
    return Rejected(content.id, content.reason or UNKNOWN, content.indexed_at, content.attempts, keys)


async def retry(found: Sequence[Rejected], outbox: Outbox, topics: Topics, clock: Clock) -> int:
    """Ask for another look at each, whatever the limits were; the number of messages. Raises BrokerOutage."""
    for chunk in batched(found, PAGE):
        await outbox.send([_message(entry, topics, clock) for entry in chunk])
    return len(found)


def _message(entry: Rejected, topics: Topics, clock: Clock) -> OutgoingMessage:
    subject = entry.subject
    if isinstance(subject, ObjectRef):
        return object_hint(subject, "Retry", topics, clock)
    return content_hint(subject, topics, retry=True)
