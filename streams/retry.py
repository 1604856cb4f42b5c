"""What was rejected: listing it, and asking for another look."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched

from schemas.messages import ContentChanged, bucket_event, encode_key
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef
from stores.broker.ports import OutgoingMessage
from stores.catalog.ports import Catalog
from streams.ports import Ports

PAGE = 1000
EVENT_NAME = "twinlens:Retry"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejected content or object. ``reason`` is ``slug`` or ``slug: sentence``."""

    subject: ContentId | ObjectRef
    reason: str
    decided_at: datetime | None
    attempts: int
    keys: tuple[str, ...] = ()
    """Some object that holds it."""

    @property
    def slug(self) -> str:
        """The reason for programs."""
        return self.reason.partition(":")[0]


async def rejected(catalog: Catalog, bucket: str, *, reason: str | None = None) -> AsyncIterator[Rejected]:
    """Everything that is rejected in a bucket, objects first, in bounded memory; ``reason`` is a slug."""
    after = ""
    while images := await catalog.page_of_images(bucket, prefix="", after=after, limit=PAGE):
        for image in images:
            if image.reason is not None and reason in (None, image.reason.partition(":")[0]):
                yield _object(image)
        after = images[-1].key
    after = ""
    while contents := await catalog.page_of_contents(bucket, after=after, limit=PAGE):
        refused = [row for row in contents if row.state is ContentState.REJECTED]
        async with catalog.transaction() as tx:
            oldest = await tx.oldest_references(bucket, [row.sha256 for row in refused])
        for row in refused:
            if reason in (None, (row.reason or "").partition(":")[0]):
                yield _content(row, oldest.get(row.sha256))
        after = contents[-1].sha256


def _object(image: ImageRecord) -> Rejected:
    return Rejected(image.ref, image.reason or "", image.updated_at, attempts=1, keys=(image.key,))


def _content(content: ContentRecord, image: ImageRecord | None) -> Rejected:
    keys = (image.key,) if image is not None else ()
    return Rejected(content.id, content.reason or "", content.indexed_at, content.attempts, keys)


async def retry(found: Sequence[Rejected], ports: Ports) -> int:
    """Ask for another look at each, whatever the limits were; the number of messages. Raises BrokerOutage."""
    for chunk in batched(found, PAGE):
        await ports.outbox.send([_message(entry, ports) for entry in chunk])
    return len(found)


def _message(entry: Rejected, ports: Ports) -> OutgoingMessage:
    subject = entry.subject
    if isinstance(subject, ObjectRef):
        event = bucket_event(subject, event_name=EVENT_NAME, event_time=ports.clock.now())
        return OutgoingMessage(ports.topics.bucket_events, encode_key(subject), event)
    change = ContentChanged(bucket=subject.bucket, sha256=subject.sha256, retry=True)
    return OutgoingMessage(ports.topics.contents, encode_key(subject), change.encode())
