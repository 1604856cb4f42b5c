"""Listing what was rejected, and asking for another look at it."""

from __future__ import annotations

from dataclasses import replace

from schemas.records import ContentState, ObjectRef, Reason
from schemas.settings import LimitSettings
from streams.repair.rejections import Rejected, rejected, retry
from tests.harness.installation import BUCKET
from tests.harness.pictures import picture
from tests.unit.reconcile.installation import Reconciled


async def listed(installation: Reconciled, reason: str | None = None) -> list[Rejected]:
    """Everything that is rejected."""
    return [entry async for entry in rejected(installation.catalog, BUCKET, reason=reason)]


async def again(installation: Reconciled) -> int:
    """Ask for another look at everything that is rejected."""
    return await retry(await listed(installation), installation.outbox, installation.topics, installation.clock)


async def refusing() -> Reconciled:
    """An installation that has refused one object and two pictures."""
    installation = Reconciled(limits=LimitSettings(max_side=16, max_object_bytes=1000))
    installation.put("heavy.png", bytes(2000))
    installation.put("wide.png", picture(1))
    installation.put("broken.png", b"no picture at all")
    await installation.reconcile()
    await installation.work()
    return installation


async def test_lists_reason_time_and_attempts() -> None:
    """Objects and pictures that were rejected are listed with what is known of them."""
    installation = await refusing()
    found = {entry.keys[0]: entry for entry in await listed(installation)}
    assert {key: entry.reason.slug for key, entry in found.items()} == {
        "heavy.png": "too_many_bytes",
        "wide.png": "too_many_pixels",
        "broken.png": "not_an_image",
    }
    assert all(entry.decided_at is not None and entry.attempts == 1 for entry in found.values())
    assert [entry.keys for entry in await listed(installation, "not_an_image")] == [("broken.png",)]


async def test_a_retry_looks_again_under_the_same_limits() -> None:
    """A content that was rejected for a bug since mended is indexed after a retry, under the limits as they are."""
    installation = Reconciled()
    installation.put("good.png", picture(1))
    await installation.reconcile()
    await installation.work()
    [row] = installation.catalog.content_rows.values()
    await installation.vectors.delete([row.vector_id])
    installation.catalog.content_rows[row.id] = replace(
        row,
        state=ContentState.REJECTED,
        reason=Reason("gave_up", "a bug"),
        limits=installation.ports.limits.fingerprint,
        attempts=5,
    )
    assert (await installation.reconcile()).differences == 0
    assert await again(installation) == 1
    await installation.work()
    assert installation.agrees()
    assert await listed(installation) == []


async def test_a_retry_looks_at_objects_that_were_given_up() -> None:
    """An object that was given up for a bug is read again."""
    installation = Reconciled()
    installation.put("good.png", picture(1))
    await installation.reconcile()
    await installation.work()
    image = installation.catalog.image_rows[ObjectRef(BUCKET, "good.png").image_id]
    installation.catalog.image_rows[image.id] = replace(image, reason=Reason("gave_up", "TypeError: a bug"))
    assert await again(installation) == 1
    await installation.work()
    assert await listed(installation) == []


async def test_what_is_still_unfit_is_rejected_again() -> None:
    """A retry of what can't be helped ends where it was, and loops nowhere."""
    installation = await refusing()
    before = {entry.subject: entry.reason for entry in await listed(installation)}
    assert await again(installation) == 3
    await installation.work()
    assert {entry.subject: entry.reason for entry in await listed(installation)} == before
