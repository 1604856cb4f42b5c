"""Forget a bucket that is not indexed any more: its snapshots, rows and vectors; its objects are left alone.

Images first, since they refer to contents; vectors before the contents that carry them. What is left of a run that was
broken off is found by the next one, as there is no other order to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import batched

from schemas import lifecycle
from schemas.errors import RequestRefused
from schemas.messages import encode_key
from schemas.patrol import last_round_name
from schemas.records import ContentRecord, ImageRecord
from stores.broker.ports import OutgoingMessage
from streams.common.ports import LOCKED_AT_ONCE, Ports, Retry
from streams.publish import snapshot
from streams.repair.reconcile import Scope

PAGE = 500
"""Contents or vectors at a time."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much of a bucket is forgotten so far, or would be."""

    images: int = 0
    contents: int = 0
    vectors: int = 0
    """Those that no content carried."""


async def count_what_is_known(bucket: str, ports: Ports) -> Forgotten:
    """What there is to be forgotten; of the vectors, all."""
    contents, after = 0, ""
    while page := await ports.catalog.page_of_contents(bucket, after=after, limit=PAGE):
        contents, after = contents + len(page), page[-1].sha256
    return Forgotten(await ports.catalog.count_images(bucket), contents, await ports.vectors.count(bucket))


async def forget(bucket: str, ports: Ports, retry: Retry) -> AsyncIterator[Forgotten]:
    """Forget a bucket; how much of it so far, after each step. To be called again if it was broken off.

    Raises RequestRefused if a worker is still adding to it, Outage when one outlasts the retry budget.
    """
    done = Forgotten()
    while (count := await retry.run(lambda: _forget_images(bucket, ports))) is not None:
        done = replace(done, images=done.images + count)
        yield done
    while count := await retry.run(lambda: _forget_contents(bucket, ports)):
        done = replace(done, contents=done.contents + count)
        yield done
    done = replace(done, vectors=await retry.run(lambda: _forget_vectors(bucket, ports)))
    for name in (Scope(bucket).progress_name, Scope(bucket, patrol=True).progress_name, last_round_name(bucket)):
        await retry.run(lambda name=name: ports.catalog.save_progress(name, None, ports.clock.now()))  # type: ignore[misc]
    yield done


async def _forget_images(bucket: str, ports: Ports) -> int | None:
    """Say of some images that they are removed, and then nothing more, while their rows are locked; delete the rows.

    How many of them were there until then; None where no row is left.
    """
    ids = await ports.catalog.image_ids(bucket, limit=LOCKED_AT_ONCE)
    if not ids:
        return None
    async with ports.catalog.transaction() as tx:
        images = (await tx.lock_images(ids)).values()
        await ports.outbox.send([message for image in images for message in _last_words(image, ports)])
        await tx.delete_images([image.id for image in images])
    return sum(image.exists for image in images)


def _last_words(image: ImageRecord, ports: Ports) -> list[OutgoingMessage]:
    """A snapshot for who reads along, and a tombstone for who begins later."""
    topic, key = ports.topics.image_changes, encode_key(image.ref)
    gone = lifecycle.record_absence(image, None, ports.clock.now(), timedelta())
    return [
        OutgoingMessage(topic, key, snapshot(gone, None, {}, ports).encode()),
        OutgoingMessage(topic, key, None),
    ]


async def _forget_contents(bucket: str, ports: Ports) -> int:
    contents = await ports.catalog.page_of_contents(bucket, after="", limit=PAGE)
    if contents:
        await ports.delete_vectors([vector_id for content in contents for vector_id in _vectors_of(content)])
    for part in batched(contents, LOCKED_AT_ONCE):
        async with ports.catalog.transaction() as tx:
            rows = await tx.lock_contents([content.id for content in part])
            if await tx.oldest_references(rows):
                raise RequestRefused(
                    f"objects of {bucket} are still being added: does a worker have it in its settings?"
                )
            await tx.delete_contents(rows)
    return len(contents)


def _vectors_of(content: ContentRecord) -> list[int]:
    return [content.vector_id, *content.retired]


async def _forget_vectors(bucket: str, ports: Ports) -> int:
    count = 0
    async for ids in ports.vectors.ids(bucket=bucket, page=PAGE):
        await ports.delete_vectors(ids)
        count += len(ids)
    return count
