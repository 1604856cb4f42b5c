"""The two comparisons: objects with images, vectors with contents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.lifecycle import GAVE_UP, is_stored_for, is_unreadable
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef, ObjectState
from schemas.settings import LimitSettings
from stores.catalog.ports import Catalog
from stores.objects.left_out import LeftOut
from stores.objects.ports import ObjectReader
from stores.vectors.ports import VectorIndex
from streams.common.backoff import OutageRetry
from streams.common.ports import Clock
from streams.common.scope import scoped_to_bucket
from streams.ingest.look import object_rejection
from streams.repair.drift import ComparedCounts, Drift, DriftKind, VectorRef
from streams.repair.joining import Joined, Reopened, join

PAGE = 1000
"""Objects, rows or ids held at a time."""


@dataclass(frozen=True, slots=True)
class ComparePorts:
    """What the comparisons touch. In ``objects`` what is ``left_out`` is not there."""

    objects: ObjectReader
    left_out: LeftOut
    catalog: Catalog
    vectors: VectorIndex
    clock: Clock
    limits: LimitSettings


@dataclass(frozen=True, slots=True)
class ComparedPage[K]:
    """A part of a comparison; all up to ``position`` (None: the end) has been compared now."""

    position: K | None
    compared: ComparedCounts
    drifts: list[Drift]


async def compare_objects(
    bucket: str, ports: ComparePorts, retry: OutageRetry, *, prefix: str = "", after: str = "", page: int = PAGE
) -> AsyncIterator[ComparedPage[str]]:
    """Objects under the prefix against the images' rows, in the order of the keys. Raises Outage beyond the budget."""
    listing = Reopened[str, ObjectState](
        lambda position: ports.objects.list(bucket, prefix=prefix, start_after=position),
        lambda state: state.ref.key,
        after=after,
    )

    async def objects() -> Sequence[tuple[str, ObjectState]]:
        taken = await retry.run(lambda: scoped_to_bucket(bucket, lambda: listing.take(page), ports.objects))
        return [(state.ref.key, state) for state in taken]

    async def rows(position: str, limit: int) -> Sequence[tuple[str, ImageRecord]]:
        found = await retry.run(
            lambda: ports.catalog.page_of_images(bucket, prefix=prefix, after=position, limit=limit)
        )
        return [(image.key, image) for image in found]

    async with listing:
        async for part in join(objects, rows, after=after, page=page):
            yield _compared_objects(part, bucket, ports)


def _compared_objects(
    part: Joined[str, ObjectState, ImageRecord], bucket: str, ports: ComparePorts
) -> ComparedPage[str]:
    drifts = [_drift(DriftKind.MISSING, state) for state in part.left_only if not ports.left_out.hides(state)]
    drifts += [
        Drift(DriftKind.ORPHAN_ROW, ObjectRef(bucket, image.key), seen=image.version) for image in part.right_only
    ]
    for state, image in part.pairs:
        if ports.left_out.hides(state):
            drifts.append(_drift(DriftKind.LEFT_OUT, state))
        elif kind := _difference(image, state, ports.limits.max_object_bytes):
            drifts.append(_drift(kind, state))
    matched = len(part.pairs)
    compared = ComparedCounts(objects=matched + len(part.left_only), rows=matched + len(part.right_only))
    return ComparedPage(part.position, compared, drifts)


def _drift(kind: DriftKind, state: ObjectState) -> Drift:
    return Drift(kind, state.ref, seen=state.fingerprint)


def _difference(image: ImageRecord, state: ObjectState, max_bytes: int) -> DriftKind | None:
    if image.fingerprint != state.fingerprint:
        return DriftKind.STALE
    if is_unreadable(image.reason):
        return DriftKind.UNREADABLE
    # What was given up for a bug is looked at again when an operator asks: it would only fail again, every time.
    given_up = image.reason is not None and image.reason.slug == GAVE_UP
    return None if given_up or image.reason == object_rejection(state, max_bytes) else DriftKind.STALE


async def compare_vectors(
    bucket: str, ports: ComparePorts, retry: OutageRetry, *, too_long: timedelta, page: int = PAGE
) -> AsyncIterator[ComparedPage[int]]:
    """Vectors and views of the bucket against its contents, in the order of the vector ids.

    Raises Outage beyond the budget.
    """
    model_name = await retry.run(ports.vectors.model_name)
    listing = Reopened[int, Sequence[int]](
        lambda position: ports.vectors.ids(bucket=bucket, after=position, page=page), lambda ids: ids[-1], after=-1
    )

    async def vectors() -> Sequence[tuple[int, int]]:
        return [(number, number) for number in await retry.run(listing.next) or ()]

    async def rows(position: int, limit: int) -> Sequence[tuple[int, ContentRecord]]:
        found = await retry.run(lambda: ports.catalog.page_of_contents_by_vector(bucket, after=position, limit=limit))
        return [(content.vector_id, content) for content in found]

    async with listing:
        async for part in join(vectors, rows, after=-1, page=page):
            judge = _ContentJudge(ports.limits.fingerprint, model_name, ports.clock.now() - too_long)
            yield await _compared_vectors(part, bucket, ports, retry, judge)


async def _compared_vectors(
    part: Joined[int, int, ContentRecord], bucket: str, ports: ComparePorts, retry: OutageRetry, judge: _ContentJudge
) -> ComparedPage[int]:
    contents = [content for _, content in part.pairs] + part.right_only
    referred = await retry.run(lambda: _referred(contents, ports.catalog))
    suspects = [content.vector_id for content in part.right_only if content.state is ContentState.INDEXED]
    # The ids were read a moment before the rows: what has been indexed in between is there by now.
    there = {content.vector_id for _, content in part.pairs}
    there |= await retry.run(lambda: ports.vectors.known(suspects)) if suspects else set()
    wanted = {content.vector_id for content in contents if content.state is ContentState.INDEXED}
    there -= await retry.run(lambda: ports.vectors.incomplete(there & wanted))
    unknown = await uncarried(part.left_only, ports.catalog, ports.vectors, retry)
    drifts = [Drift(DriftKind.ORPHAN_VECTOR, VectorRef(bucket, number)) for number in unknown]
    for content in contents:
        kind = judge.drift(content, has_vector=content.vector_id in there, is_referred=content.id in referred)
        if kind is not None:
            drifts.append(Drift(kind, content.id))
    compared = ComparedCounts(contents=len(contents), vectors=len(part.pairs) + len(part.left_only))
    return ComparedPage(part.position, compared, drifts)


async def uncarried(vector_ids: Sequence[int], catalog: Catalog, vectors: VectorIndex, retry: OutageRetry) -> list[int]:
    """Those ids under which something is stored and that no content carries, in this order; what was being removed is
    gone by now.

    Only a committed row's id ever gets a vector, and an id that no row carries never comes back: so what is found
    here belongs to nobody for good.
    """
    if not vector_ids:
        return []
    there = await retry.run(lambda: vectors.known(vector_ids))
    carried = await retry.run(lambda: catalog.contents_by_vector(vector_ids))
    return [number for number in vector_ids if number in there and number not in carried]


async def _referred(contents: Sequence[ContentRecord], catalog: Catalog) -> set[ContentId]:
    """Those contents that an image refers to."""
    if not contents:
        return set()
    async with catalog.transaction() as tx:
        return set(await tx.oldest_references([content.id for content in contents]))


@dataclass(frozen=True, slots=True)
class _ContentJudge:
    limits: str
    model_name: str
    latest: datetime
    """What has been dirty since before this moment was forgotten by the sweep."""

    def drift(self, content: ContentRecord, *, has_vector: bool, is_referred: bool) -> DriftKind | None:
        """What is wrong with a content, if anything. What is under way is not."""
        kind = None
        if content.state is ContentState.INDEXED and not has_vector:
            kind = DriftKind.MISSING_VECTOR
        elif content.dirty_since is not None and content.dirty_since > self.latest:
            kind = None
        elif content.dirty_since is not None or content.state in (ContentState.PENDING, ContentState.DELETING):
            kind = DriftKind.PENDING_TOO_LONG
        elif not is_referred:
            kind = DriftKind.ORPHAN_CONTENT
        elif content.state is ContentState.REJECTED and has_vector:
            kind = DriftKind.ORPHAN_VECTOR
        elif self._is_outdated(content):
            kind = DriftKind.STALE
        elif is_unreadable(content.reason):
            kind = DriftKind.UNREADABLE
        return kind

    def _is_outdated(self, content: ContentRecord) -> bool:
        if content.state is ContentState.REJECTED:
            return content.limits != self.limits
        return not is_stored_for(content, self.model_name)
