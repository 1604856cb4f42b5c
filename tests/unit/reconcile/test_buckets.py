"""Buckets that come and go: left alone, taken up again, forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from schemas.errors import RequestRefused, VectorIndexOutage
from schemas.messages import ImageChanged, encode_key
from schemas.patrol import last_round_name
from schemas.records import ImageState, ObjectRef
from schemas.settings import ObjectSettings
from streams.assembly import for_forget, for_sweep
from streams.common.hints import content_hint, object_hint
from streams.repair.forget import Forgotten, count_what_is_known, forget
from streams.repair.reconcile import Scope
from streams.repair.sweep import sweep
from tests.harness.installation import BUCKET
from tests.harness.pictures import picture
from tests.unit.reconcile.installation import Reconciled

OTHER = "other"
PICTURES = 3


async def of_two_buckets() -> Reconciled:
    """An installation with three pictures in each of two buckets, all indexed, and a vector too many in one."""
    installation = Reconciled()
    await installation.objects.ensure_bucket(OTHER)
    index_only(installation, BUCKET, OTHER)
    for bucket in (BUCKET, OTHER):
        for number in range(PICTURES):
            ref = ObjectRef(bucket, f"{number}.png")
            installation.objects.put_now(ref, picture(number))
            await installation.outbox.send([object_hint(ref, "Requested", installation.topics, installation.clock)])
    await installation.work()
    await installation.add_vector(4711)
    return installation


def index_only(installation: Reconciled, *buckets: str) -> None:
    """Restart with these buckets in the settings."""
    objects = ObjectSettings(buckets=buckets)
    installation.settings = installation.settings.model_copy(update={"objects": objects})
    installation.catalog.buckets = buckets


async def forget_all(installation: Reconciled, bucket: str) -> Forgotten:
    """Forget a bucket, to the end."""
    return [done async for done in forget(bucket, for_forget(installation.ports), installation.retry)][-1]


def rows_of(installation: Reconciled, bucket: str) -> tuple[int, int, int]:
    """How many images, contents and vectors there are."""
    images = [row for row in installation.catalog.image_rows.values() if row.bucket == bucket]
    contents = [row for row in installation.catalog.content_rows.values() if row.bucket == bucket]
    vectors = [entry for entry in installation.vectors.present().values() if entry.bucket == bucket]
    return len(images), len(contents), len(vectors)


async def test_a_bucket_that_was_taken_out_is_left_alone_until_it_comes_back() -> None:
    """Its contents are neither swept nor fetched, though the bucket is gone; nothing due of it is lost."""
    installation = await of_two_buckets()
    [content] = [row for row in installation.catalog.content_rows.values() if row.bucket == OTHER][:1]
    due = replace(content, dirty_since=installation.clock.now(), resend_due=installation.clock.now())
    installation.catalog.content_rows[content.id] = due
    index_only(installation, BUCKET)
    installation.objects.missing.add(OTHER)
    await installation.clock.sleep(60)
    assert await sweep(for_sweep(installation.ports)) == 0
    await installation.outbox.send([content_hint(content.id, installation.topics, verify=True)])
    await installation.work()
    assert installation.catalog.content_rows[content.id] == due
    installation.objects.missing.clear()
    index_only(installation, BUCKET, OTHER)
    assert await sweep(for_sweep(installation.ports)) == 1
    await installation.work()
    assert installation.catalog.content_rows[content.id].dirty_since is None


async def test_forgetting_leaves_nothing_but_the_other_buckets() -> None:
    """Rows, vectors (one that nobody carried among them) and remembered progress go; readers are told of each image."""
    installation = await of_two_buckets()
    progress = [Scope(BUCKET).progress_name, Scope(BUCKET, patrol=True).progress_name, last_round_name(BUCKET)]
    kept = [Scope(OTHER).progress_name]
    installation.catalog.positions |= {name: {"after": "x"} for name in [*progress, *kept]}
    assert await count_what_is_known(BUCKET, installation.catalog, installation.vectors) == Forgotten(
        PICTURES, PICTURES, PICTURES + 1
    )
    assert await forget_all(installation, BUCKET) == Forgotten(PICTURES, PICTURES, 1)
    assert rows_of(installation, BUCKET) == (0, 0, 0)
    assert rows_of(installation, OTHER) == (PICTURES, PICTURES, PICTURES)
    assert list(installation.catalog.positions) == kept
    changes = installation.outbox.to(installation.ports.topics.image_changes)
    for number in range(PICTURES):
        key = encode_key(ObjectRef(BUCKET, f"{number}.png"))
        *_, indexed, removed, tombstone = [change.value for change in changes if change.key == key]
        assert ImageChanged.decode(removed).state is ImageState.REMOVED
        assert ImageChanged.decode(removed).version > ImageChanged.decode(indexed).version
        assert tombstone is None


@pytest.mark.parametrize("steps", range(4))
async def test_forgetting_can_be_broken_off_at_any_step(steps: int) -> None:
    """Whoever begins again comes to the same end."""
    installation = await of_two_buckets()
    run = forget(BUCKET, for_forget(installation.ports), installation.retry)
    for _ in range(steps):
        await anext(run)
    await forget_all(installation, BUCKET)
    assert rows_of(installation, BUCKET) == (0, 0, 0)


async def test_no_row_goes_before_its_vector() -> None:
    """While the vector index is away the contents stay, so that their vectors are not lost sight of."""
    installation = await of_two_buckets()
    installation.vectors.outage = True
    run = forget(BUCKET, for_forget(installation.ports), installation.impatience())
    with pytest.raises(VectorIndexOutage):
        async with asyncio.timeout(5):
            _ = [done async for done in run]
    assert rows_of(installation, BUCKET)[:2] == (0, PICTURES)
    installation.vectors.outage = False
    await forget_all(installation, BUCKET)
    assert rows_of(installation, BUCKET) == (0, 0, 0)


class ObjectComesBack:
    """Retries nothing; once no image is left, a worker that was not restarted adds one."""

    def __init__(self, installation: Reconciled) -> None:
        self._installation = installation
        self._came_back = False

    async def run[T](self, step: Callable[[], Awaitable[T]]) -> T:
        """See Retry."""
        result = await step()
        if result is None and not self._came_back:
            self._came_back = True
            ports = self._installation.ports
            await ports.outbox.send([object_hint(ObjectRef(BUCKET, "0.png"), "Requested", ports.topics, ports.clock)])
            await self._installation.work()
        return result


async def test_forgetting_stops_where_a_worker_still_adds() -> None:
    """A content that is referred to again is not deleted, and who is to be restarted is said."""
    installation = await of_two_buckets()
    with pytest.raises(RequestRefused, match="still being added"):
        _ = [done async for done in forget(BUCKET, for_forget(installation.ports), ObjectComesBack(installation))]
    assert rows_of(installation, BUCKET)[:2] == (1, PICTURES)
