"""Publish images: one function, whoever calls it, so that the stream is in order per key and ends with the truth."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import batched

from schemas import lifecycle
from schemas.messages import ImageChanged, NearestImage, encode_key
from schemas.records import REQUEST_ID, ContentId, ContentRecord, ImageRecord, ImageState
from schemas.similarity import Verdict, judged
from schemas.topics import Topics
from stores.broker.ports import Outbox, OutgoingMessage
from stores.catalog.ports import Catalog, CatalogTransaction, Reference
from streams.common import metrics
from streams.common.checkpoints import Step
from streams.common.ports import LOCKED_AT_ONCE, Checkpoint, Clock

type Contents = Mapping[ContentId, ContentRecord]


@dataclass(frozen=True, slots=True)
class PublishPorts:
    """What publishing touches."""

    catalog: Catalog
    outbox: Outbox
    topics: Topics
    clock: Clock
    reached: Checkpoint
    copy_threshold: float
    wait: timedelta
    """After so long the sweep takes up what was marked to be published, and was not."""
    tombstone_after: timedelta
    """So long a removed image stays in the catalog and on the change stream."""


async def publish_images(image_ids: Iterable[str], ports: PublishPorts) -> None:
    """Send the snapshot of each image whose last published one is out of date. Safe to repeat.

    The rows are locked from the reading to the broker's answer. Raises Outage.
    """
    for part in batched(sorted(set(image_ids)), LOCKED_AT_ONCE):
        announced = False
        while not announced:
            async with ports.catalog.transaction() as tx:
                images = await lock_images(tx, part)
                contents = await tx.contents({image.content_id for image in images if image.content_id})
                announced = await publish_locked(tx, images, contents, ports)
        await ports.reached(Step.IMAGE_PUBLISHED)


async def lock_images(tx: CatalogTransaction, image_ids: Collection[str]) -> list[ImageRecord]:
    """Those of the images that have a row, locked, so that nobody else publishes them meanwhile."""
    return list((await tx.lock_images(image_ids)).values())


async def publish_locked(
    tx: CatalogTransaction, images: Collection[ImageRecord], contents: Contents, ports: PublishPorts
) -> bool:
    """Send what is out of date of these locked images, all in one call, and record it.

    False if nothing was sent, since some of the rows had to be marked first: commit, and call again.
    """
    now = ports.clock.now()
    marked = [
        lifecycle.mark_to_publish(image, now, ports.wait) for image in images if not is_announced(image, contents)
    ]
    marked += [lifecycle.begin_erasing(image, now, ports.wait) for image in images if lifecycle.is_expired(image, now)]
    if marked:
        await tx.save_images(marked)
        return False
    erasing = [image for image in images if lifecycle.is_being_erased(image)]
    erased = [image for image in images if lifecycle.is_erased(image)]
    current = [image for image in images if image not in erasing and image not in erased]
    due = [image for image in current if not lifecycle.is_published(image, _content(image, contents))]
    nearby = await _nearby(tx, due, contents)
    snapshots = [snapshot(image, _content(image, contents), nearby, ports.clock, ports.copy_threshold) for image in due]
    await ports.outbox.send(
        [
            OutgoingMessage(ports.topics.image_changes, encode_key(image.ref), sent.encode())
            for image, sent in zip(due, snapshots, strict=True)
        ]
        + [OutgoingMessage(ports.topics.image_changes, encode_key(image.ref), None) for image in erasing]
    )
    await ports.reached(Step.IMAGE_SENT)
    saved = [
        lifecycle.record_published(image, _content(image, contents), sent.version, now, ports.tombstone_after)
        for image, sent in zip(due, snapshots, strict=True)
    ]
    sending = {image.id for image in due}
    saved += [
        lifecycle.cancel_publishing(image)
        for image in current
        if image.id not in sending and image.exists and image.publish_due is not None
    ]
    saved += [lifecycle.record_erased(image, now) for image in erasing]
    await tx.save_images(saved)
    await tx.delete_images([image.id for image in erased if not lifecycle.may_be_erased(image, now)])
    for sent in snapshots:
        metrics.IMAGES_PUBLISHED.labels(sent.state).inc()
    metrics.TOMBSTONES.inc(len(erasing))
    return True


def is_announced(image: ImageRecord, contents: Contents) -> bool:
    """Whether the row as it is committed says that there is something to be sent, if there is."""
    return lifecycle.is_announced(image, _content(image, contents))


def _content(image: ImageRecord, contents: Contents) -> ContentRecord | None:
    return contents.get(image.content_id) if image.content_id else None


async def _nearby(
    tx: CatalogTransaction, images: Collection[ImageRecord], contents: Contents
) -> Mapping[ContentId, list[Reference]]:
    """The two oldest images of each content that the snapshots of these images name."""
    named: set[ContentId] = set()
    for image in images:
        content = _content(image, contents)
        if content is not None:
            named.add(content.id)
            named |= {ContentId(content.bucket, near.sha256) for near in content.nearest}
    return await tx.oldest_references(named, limit=2)


def snapshot(
    image: ImageRecord,
    content: ContentRecord | None,
    nearby: Mapping[ContentId, list[Reference]],
    clock: Clock,
    copy_threshold: float,
) -> ImageChanged:
    """What is told of an image, under a version of its own; ``nearby`` are images of its content and those near it.

    ``copy_threshold`` (0 to 100): of the model in use, for scores of which it is not known which model gave them.
    """
    now = clock.now()
    state, reason = lifecycle.image_state(image, content)
    twins = nearby.get(content.id, []) if content else []
    twin = next((other for other in twins if other.image_id != image.id), None)
    nearest = [_nearest(twin, 100.0, Verdict.EXACT)] if twin and state is ImageState.INDEXED else []
    if content is not None and state is ImageState.INDEXED:
        scores, verified = [near.score for near in content.nearest], [near.verified for near in content.nearest]
        # Scores are judged by the model that gave them, though another may be in use by now.
        thresholds = [near.copy_threshold for near in content.nearest if near.copy_threshold is not None]
        judgements = judged(scores, verified, (thresholds or [copy_threshold])[0], verifying=False)
        for near, said in zip(content.nearest, judgements, strict=True):
            oldest = nearby.get(ContentId(content.bucket, near.sha256))
            if oldest:
                nearest.append(_nearest(oldest[0], near.score, said.verdict, near.verified))
    share = content.decoded_share if content is not None and state is ImageState.INDEXED else None
    return ImageChanged(
        version=lifecycle.next_version(image, now),
        state=state,
        image_id=image.id,
        bucket=image.bucket,
        key=image.key,
        external_id=image.external_id,
        sha256=image.sha256,
        duplicate=twin is not None,
        partial=share is not None,
        decoded_share=share,
        reason=str(reason) if reason else None,
        request_id=image.metadata.get(REQUEST_ID),
        nearest=tuple(nearest),
        occurred_at=image.updated_at or now,
    )


def _nearest(image: Reference, score: float, how: Verdict, verified: bool | None = None) -> NearestImage:
    return NearestImage(
        image_id=image.image_id, bucket=image.bucket, key=image.key, score=score, verdict=how, verified=verified
    )
