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
from schemas.topics import Topics
from stores.broker.ports import Outbox, OutgoingMessage
from stores.catalog.ports import Catalog
from stores.vectors.ports import VectorIndex
from streams.common.ports import LOCKED_AT_ONCE, Clock, Retry, ServedVectors
from streams.publish import snapshot
from streams.repair.reconcile import Scope

PAGE = 500
"""Contents or vectors at a time."""


@dataclass(frozen=True, slots=True)
class ForgetPorts:
    """What forgetting touches."""

    catalog: Catalog
    served: ServedVectors
    outbox: Outbox
    topics: Topics
    clock: Clock
    copy_threshold: float


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much of a bucket is forgotten so far, or would be."""

    images: int = 0
    contents: int = 0
    vectors: int = 0
    """Those that no content carried."""


async def count_what_is_known(bucket: str, catalog: Catalog, vectors: VectorIndex) -> Forgotten:
    """What there is to be forgotten; of the vectors, all."""
    contents, after = 0, ""
    while page := await catalog.page_of_contents(bucket, after=after, limit=PAGE):
        contents, after = contents + len(page), page[-1].sha256
    return Forgotten(await catalog.count_images(bucket), contents, await vectors.count(bucket))


async def forget(bucket: str, ports: ForgetPorts, retry: Retry) -> AsyncIterator[Forgotten]:
    """Forget a bucket; how much of it so far, after each step. To be called again if it was broken off.

    Raises RequestRefused if a worker is still adding to it, Outage when one outlasts the retry budget.
    """
    done = Forgotten()
    while (count := await retry.run(lambda: _forget_images(bucket, ports))) is not None:
        done = replace(done, images=done.images + count)
        yield done
    while count := await retry.run(lambda: _forget_contents(bucket, ports.catalog, ports.served)):
        done = replace(done, contents=done.contents + count)
        yield done
    done = replace(done, vectors=await retry.run(lambda: _forget_vectors(bucket, ports.served)))
    for name in (Scope(bucket).progress_name, Scope(bucket, patrol=True).progress_name, last_round_name(bucket)):
        await retry.run(lambda name=name: ports.catalog.save_progress(name, None, ports.clock.now()))  # type: ignore[misc]
    yield done


async def _forget_images(bucket: str, ports: ForgetPorts) -> int | None:
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


def _last_words(image: ImageRecord, ports: ForgetPorts) -> list[OutgoingMessage]:
    """A snapshot for who reads along, and a tombstone for who begins later."""
    topic, key = ports.topics.image_changes, encode_key(image.ref)
    gone = lifecycle.record_absence(image, None, ports.clock.now(), timedelta())
    return [
        OutgoingMessage(topic, key, snapshot(gone, None, {}, ports.clock, ports.copy_threshold).encode()),
        OutgoingMessage(topic, key, None),
    ]


async def _forget_contents(bucket: str, catalog: Catalog, served: ServedVectors) -> int:
    contents = await catalog.page_of_contents(bucket, after="", limit=PAGE)
    if contents:
        await served.delete([vector_id for content in contents for vector_id in _vectors_of(content)])
    for part in batched(contents, LOCKED_AT_ONCE):
        async with catalog.transaction() as tx:
            rows = await tx.lock_contents([content.id for content in part])
            if await tx.oldest_references(rows):
                raise RequestRefused(
                    f"objects of {bucket} are still being added: does a worker have it in its settings?"
                )
            await tx.delete_contents(rows)
    return len(contents)


def _vectors_of(content: ContentRecord) -> list[int]:
    return [content.vector_id, *content.retired]


async def _forget_vectors(bucket: str, served: ServedVectors) -> int:
    count = 0
    async for ids in served.in_use.ids(bucket=bucket, page=PAGE):
        await served.delete(ids)
        count += len(ids)
    return count
