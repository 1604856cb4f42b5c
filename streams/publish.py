"""Publish images: one function, whoever calls it, so that the stream is in order per key and ends with the truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from itertools import batched

from schemas.messages import ImageChanged, NearestImage, encode_key
from schemas.records import ContentRecord, ImageRecord, ImageState, image_state
from schemas.similarity import Verdict, verdict
from stores.broker.ports import OutgoingMessage
from stores.catalog.ports import CatalogTransaction
from stores.objects.ports import REQUEST_ID
from streams import metrics
from streams.ports import Ports
from streams.steps import Step

CHUNK = 50
"""Images published in one transaction: rows stay locked while the broker is awaited, so not too many."""


async def publish_images(image_ids: Iterable[str], ports: Ports) -> None:
    """Send the snapshot of each image whose last published one is out of date. Safe to repeat.

    The row is locked from the reading to the broker's answer. Raises Outage.
    """
    for chunk in batched(sorted(set(image_ids)), CHUNK):
        async with ports.catalog.transaction() as tx:
            images = await tx.lock_images(chunk)
            marked = [image for image in images if await _mark(tx, image, ports)]
            if not marked:
                await _publish_locked(tx, images, ports)
        if marked:
            async with ports.catalog.transaction() as tx:
                await _publish_locked(tx, await tx.lock_images(chunk), ports)
        await ports.reached(Step.IMAGE_PUBLISHED)


async def _publish_locked(tx: CatalogTransaction, images: Iterable[ImageRecord], ports: Ports) -> None:
    for image in images:
        await _publish(tx, image, ports)


async def _mark(tx: CatalogTransaction, image: ImageRecord, ports: Ports) -> bool:
    """Put an image on the to-do list, to be committed before anything is sent that its row does not announce.

    Else a worker could die between sending "pending" for an image that was published as indexed and committing that
    it did: once the content is indexed again, nobody would know that there is something to send. An image that was last
    published as pending needs no mark: its content is on the to-do list.
    """
    settled = image.published_state is not None and not image.published_state.startswith(ImageState.PENDING)
    if image.version != image.published_version or not settled:
        return False
    *_, published_state = await _present(tx, image)
    if image.published_state == published_state:
        return False
    now = ports.clock.now()
    await tx.save_image(replace(image, version=next_version(image, now), publish_due=ports.first_resend(now)))
    return True


async def _present(
    tx: CatalogTransaction, image: ImageRecord
) -> tuple[ContentRecord | None, ImageState, str | None, str]:
    """The image's content, its state and reason, and all that a reader of the change stream is told, as one text."""
    content = await tx.content(image.content_id) if image.content_id else None
    state, reason = image_state(image, content)
    return content, state, reason, _told(state, image.sha256, reason)


def _told(state: ImageState, sha256: str | None, reason: str | None) -> str:
    return f"{state}:{sha256 or ''}:{reason or ''}"


def expected_state(content: ContentRecord) -> str:
    """The ``published_state`` of an image that refers to this content, once it is published."""
    image = ImageRecord(id="", bucket=content.bucket, key="", etag="it is there", sha256=content.sha256)
    state, reason = image_state(image, content)
    return _told(state, content.sha256, reason)


def next_version(image: ImageRecord, now: datetime) -> int:
    """A higher version: microseconds of the clock, so that it rises even after a tombstone's row was deleted."""
    return max(image.version + 1, int(now.timestamp() * 1_000_000))


async def _publish(tx: CatalogTransaction, image: ImageRecord, ports: Ports) -> None:
    content, state, _, published_state = await _present(tx, image)
    if image.version == image.published_version and image.published_state == published_state:
        if image.publish_due is not None:
            await tx.save_image(replace(image, publish_due=None))
        return
    # A version of its own for each sending: the same one may have been sent before, with another state, by a worker
    # that died before its commit.
    image = replace(image, version=next_version(image, ports.clock.now()))
    snapshot = await _snapshot(tx, image, content, ports)
    await ports.outbox.send([OutgoingMessage(ports.topics.image_changes, encode_key(image.ref), snapshot.encode())])
    await ports.reached(Step.IMAGE_SENT)
    metrics.IMAGES_PUBLISHED.labels(state).inc()
    if state is ImageState.REMOVED:
        await tx.delete_image(image.id)
    else:
        await tx.save_image(
            replace(image, published_version=image.version, published_state=published_state, publish_due=None)
        )


async def _snapshot(
    tx: CatalogTransaction, image: ImageRecord, content: ContentRecord | None, ports: Ports
) -> ImageChanged:
    state, reason = image_state(image, content)
    twins = await tx.references(content.id, limit=2) if content else []
    twin = next((other for other in twins if other.id != image.id), None)
    nearest = [_nearest(twin, 100.0, Verdict.EXACT)] if twin and state is ImageState.INDEXED else []
    if content is not None and state is ImageState.INDEXED:
        known = await tx.oldest_references(image.bucket, [near.sha256 for near in content.nearest])
        for near in content.nearest:
            if near.sha256 in known:
                how = verdict(near.score, same_bytes=False, copy_threshold=ports.copy_threshold)
                nearest.append(_nearest(known[near.sha256], near.score, how))
    return ImageChanged(
        version=image.version,
        state=state,
        image_id=image.id,
        bucket=image.bucket,
        key=image.key,
        external_id=image.external_id,
        sha256=image.sha256,
        duplicate=twin is not None,
        reason=reason,
        request_id=image.metadata.get(REQUEST_ID),
        nearest=tuple(nearest),
        occurred_at=image.updated_at or ports.clock.now(),
    )


def _nearest(image: ImageRecord, score: float, how: Verdict) -> NearestImage:
    return NearestImage(image_id=image.id, bucket=image.bucket, key=image.key, score=score, verdict=how)
