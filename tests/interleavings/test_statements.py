"""How many SQL statements a batch costs, whatever its size: the handlers on the real catalogs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.messages import ContentChanged, ObjectHint
from schemas.model_switch import ServedModel, begin, new_model, plan
from schemas.settings import IndexSettings
from streams.assembly import for_index, for_objects
from streams.common.deliveries import Delivery
from streams.index.batches import Index
from streams.ingest.converge_objects import ObjectOutcome, converge_objects
from streams.models.serving import served_vectors
from tests.harness.catalogs import NOW, SQL_BACKENDS, database_url, sql_catalog
from tests.harness.counting import counting
from tests.harness.inference import DIMENSION, MODEL, PictureInference
from tests.harness.installation import BUCKET, content_of
from tests.harness.stepping import Stepped

MOST = 20
AGAIN = 3


@pytest_asyncio.fixture(params=SQL_BACKENDS)
async def twinlens(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stepped]:
    """An installation whose catalog has been asked something, so that its connections are there."""
    async with sql_catalog(database_url(request.param, request, tmp_path)) as catalog:
        await catalog.oldest_dirty()
        yield Stepped(catalog)


def _put(twinlens: Stepped, count: int) -> list[ObjectHint]:
    return [twinlens.put(f"k{number}", b"picture %d" % number) for number in range(count)]


async def _index(twinlens: Stepped, count: int, *, other: str | None = None) -> None:
    """An index worker with a batch; ``other`` is the mark of the other model of a switch."""
    worker = Index(
        for_index(twinlens.ports),
        twinlens.retry,
        twinlens.aside("index"),
        IndexSettings(),
        PictureInference(),
        other=PictureInference(other) if other else None,
    )
    digests = [content_of(b"picture %d" % number).sha256 for number in range(count)]
    messages = [ContentChanged(bucket=BUCKET, sha256=sha256).encode() for sha256 in digests]
    await worker.handle([Delivery(twinlens.topics.contents, 0, 0, None, message, {}) for message in messages])


async def _statements(twinlens: Stepped, hints: Sequence[ObjectHint]) -> int:
    with counting(twinlens.ports.catalog) as sent:  # type: ignore[arg-type]
        await converge_objects(hints, for_objects(twinlens.ports))
    return sent.statements


@pytest.mark.parametrize("count", [1, 8, 64])
async def test_an_ingest_batch_of_new_objects(twinlens: Stepped, count: int) -> None:
    """At most 20 statements, BEGIN and COMMIT among them, for up to 64 new objects."""
    assert await _statements(twinlens, _put(twinlens, count)) <= MOST
    assert len(await twinlens.ports.catalog.page_of_images(BUCKET, prefix="", after="", limit=100)) == count


@pytest.mark.parametrize("count", [1, 8, 32])
async def test_an_index_batch(twinlens: Stepped, count: int) -> None:
    """At most 20 statements, BEGIN and COMMIT among them, from a pending content to its published image."""
    await converge_objects(_put(twinlens, count), for_objects(twinlens.ports))
    with counting(twinlens.ports.catalog) as sent:  # type: ignore[arg-type]
        await _index(twinlens, count)
    assert sent.statements <= MOST
    assert len(twinlens.vectors.present()) == count
    assert len(twinlens.outbox.to(twinlens.topics.image_changes)) == count


@pytest.mark.parametrize("indexed", [False, True])
async def test_an_index_batch_while_models_are_switched(twinlens: Stepped, indexed: bool) -> None:
    """At most 20 statements too, whether pictures are new and go to both collections, or are brought over."""
    await converge_objects(_put(twinlens, 32), for_objects(twinlens.ports))
    if indexed:
        await _index(twinlens, 32)
    new = new_model("new@1", "new", "new", "tag")
    old = ServedModel(MODEL, "old", (await twinlens.vectors.live()).name, MODEL)
    await twinlens.vectors.create(new.collection, model_name=new.name, dimension=DIMENSION)
    async with twinlens.ports.catalog.transaction() as tx:
        switch = begin(plan(await tx.lock_switch(), new, NOW), old, new, NOW)
        await tx.save_switch(switch)
    twinlens.ports = twinlens.ports.on(served_vectors(twinlens.ports.vectors, switch))
    with counting(twinlens.ports.catalog) as sent:  # type: ignore[arg-type]
        await _index(twinlens, 32, other=new.mark)
    assert sent.statements <= MOST
    stored = twinlens.vectors.of(new.collection).present()
    assert stored.keys() == twinlens.vectors.present().keys()
    assert len(stored) == 32


async def test_a_second_announcement_of_known_objects(twinlens: Stepped) -> None:
    """The same announcements again cost at most three statements for 64 objects, and no look at the bucket."""
    hints = _put(twinlens, 64)
    await converge_objects(hints, for_objects(twinlens.ports))
    twinlens.objects.outage = True
    assert await _statements(twinlens, hints) <= AGAIN


async def test_known_objects_under_other_announcements(twinlens: Stepped) -> None:
    """Reconcile's hints, say, have no sequencer: the objects are looked at, and the rows locked, in a fixed few."""
    hints = [ObjectHint(hint.ref) for hint in _put(twinlens, 64)]
    await converge_objects(hints, for_objects(twinlens.ports))
    outcomes = await converge_objects(hints, for_objects(twinlens.ports))
    assert set(outcomes.values()) == {ObjectOutcome.UNCHANGED}
    assert await _statements(twinlens, hints) <= MOST


async def test_duplicates_of_what_is_indexed(twinlens: Stepped) -> None:
    """64 new keys with the bytes of one indexed content are recorded and published in at most 20 statements."""
    await converge_objects([twinlens.put("first", b"picture 0")], for_objects(twinlens.ports))
    await _index(twinlens, 1)
    hints = [twinlens.put(f"copy{number}", b"picture 0") for number in range(64)]
    assert await _statements(twinlens, hints) <= 2 * MOST
    assert len(twinlens.outbox.to(twinlens.topics.image_changes)) == 65
    assert len(twinlens.outbox.to(twinlens.topics.contents)) == 1


async def test_deletes(twinlens: Stepped) -> None:
    """64 objects that are gone, to the removal of their contents and vectors."""
    hints = _put(twinlens, 64)
    await converge_objects(hints, for_objects(twinlens.ports))
    await _index(twinlens, 64)
    for hint in hints:
        twinlens.objects.delete_now(hint.ref)
    gone = [ObjectHint(hint.ref, removed=True) for hint in hints]
    assert await _statements(twinlens, gone) <= 2 * MOST
    with counting(twinlens.ports.catalog) as sent:  # type: ignore[arg-type]
        await _index(twinlens, 64)
    assert sent.statements <= MOST
    assert twinlens.vectors.present() == {}
