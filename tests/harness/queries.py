"""Every query of the catalog's ports, each in the forms that it is asked in, for a large catalog."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from schemas.lifecycle import new_content, new_image
from schemas.records import ImageState, ObjectRef
from stores.catalog.reading.ports import FoundContent, ImageFilter, ImageOrder, Position
from stores.catalog.reading.sql import SqlCatalogReader
from stores.catalog.sql import SqlCatalog, SqlTransaction
from tests.harness.large_catalog import BUCKET, MINUTES, content_id, ref

NOW = datetime(2026, 2, 1, tzinfo=UTC)
SOME = [12_345, 15_432, 2_346]
IDS = [ref(number).image_id for number in SOME]
CONTENTS = [content_id(number) for number in SOME]
UNTOLD = [*CONTENTS, content_id(0)]
"""Also the content of very many objects."""


EVERYTHING, IN_BUCKET = ImageFilter(), ImageFilter(bucket=BUCKET)


class Large(NamedTuple):
    """The ports on a catalog of COUNT images."""

    catalog: SqlCatalog
    reader: SqlCatalogReader


type Query = Callable[[Large], Awaitable[int]]
"""Asks, and says how many rows were returned (or written)."""


def within(step: Callable[[SqlTransaction], Awaitable[Any]]) -> Query:
    """A step of a transaction."""

    async def query(large: Large) -> int:
        async with large.catalog.transaction() as tx:
            return len(await step(tx) or ())

    return query


def written(step: Callable[[SqlTransaction], Awaitable[None]], rows: int) -> Query:
    """A step of a transaction that writes so many rows."""

    async def query(large: Large) -> int:
        async with large.catalog.transaction() as tx:
            await step(tx)
        return rows

    return query


def returned(ask: Callable[[Large], Awaitable[Any]]) -> Query:
    """A question that is answered with a collection, or with one thing."""

    async def query(large: Large) -> int:
        answer = await ask(large)
        return len(answer) if hasattr(answer, "__len__") else 1

    return query


async def _save_images(tx: SqlTransaction) -> None:
    await tx.save_images((await tx.lock_images(IDS)).values())


async def _save_contents(tx: SqlTransaction) -> None:
    await tx.save_contents((await tx.lock_contents(CONTENTS)).values())


async def _make_and_delete(tx: SqlTransaction) -> None:
    image = new_image(ObjectRef(BUCKET, "new"), NOW)
    await tx.lock_images([], create=[image])
    await tx.delete_images([image.id])


async def _make_and_delete_content(tx: SqlTransaction) -> None:
    content = new_content(content_id(-1), None, 2**40, NOW)
    await tx.lock_contents([], create=[content])
    await tx.delete_contents([content.id])


async def _save_switch(tx: SqlTransaction) -> None:
    await tx.save_switch(await tx.lock_switch())


async def _save_by_the_switch(tx: SqlTransaction) -> None:
    tx.expect_switch((await tx.lock_switch()).version)
    await _save_contents(tx)


async def _fold(large: Large) -> int:
    """Looks through the minutes that are kept, of two days at most, for those to forget."""
    return MINUTES + await large.catalog.fold_figures(NOW)


def pages(where: ImageFilter, order: ImageOrder = ImageOrder.NEWEST) -> Query:
    """A page of a list from somewhere in its middle."""
    position = Position(10_000, *ref(10_000)) if where in (EVERYTHING, IN_BUCKET) else None
    return returned(lambda large: large.reader.page(where, order=order, after=position, limit=50))


def counted(where: ImageFilter) -> Query:
    """How many match."""
    return returned(lambda large: large.reader.count(where))


def found(ask: Callable[[Large], Awaitable[Sequence[FoundContent] | Mapping[Any, FoundContent]]]) -> Query:
    """A question that is answered with contents and their images."""

    async def query(large: Large) -> int:
        answer = await ask(large)
        contents = answer.values() if isinstance(answer, Mapping) else answer
        return sum(1 + len(content.images) for content in contents)

    return query


def vector_ids(where: ImageFilter) -> Query:
    """The vectors that a filtered search is among: for each an image's row is read, and a content's."""

    async def query(large: Large) -> int:
        return 2 * len(await large.reader.vector_ids(where, limit=4001))

    return query


QUERIES: dict[str, list[Query]] = {
    "CatalogTransaction.lock_images": [within(lambda tx: tx.lock_images(IDS))],
    "CatalogTransaction.save_images": [written(_save_images, 3)],
    "CatalogTransaction.delete_images": [written(_make_and_delete, 1)],
    "CatalogTransaction.lock_contents": [within(lambda tx: tx.lock_contents(CONTENTS))],
    "CatalogTransaction.save_contents": [written(_save_contents, 3)],
    "CatalogTransaction.delete_contents": [written(_make_and_delete_content, 1)],
    "CatalogTransaction.contents": [within(lambda tx: tx.contents(CONTENTS))],
    "CatalogTransaction.oldest_references": [within(lambda tx: tx.oldest_references([*CONTENTS, content_id(0)]))],
    "CatalogTransaction.unpublished_references": [
        within(lambda tx: tx.unpublished_references({each: f"indexed:{each.sha256}:" for each in UNTOLD}, limit=33)),
        within(lambda tx: tx.unpublished_references(dict.fromkeys(UNTOLD, "rejected"), limit=33)),
    ],
    "CatalogTransaction.lock_switch": [written(_save_switch, 1)],
    "CatalogTransaction.save_switch": [written(_save_switch, 1)],
    "CatalogTransaction.expect_switch": [written(_save_by_the_switch, 3)],
    "CatalogTransaction.carried_vectors": [within(lambda tx: tx.carried_vectors(SOME))],
    "Catalog.images": [returned(lambda large: large.catalog.images([ref(number) for number in SOME]))],
    "Catalog.contents": [returned(lambda large: large.catalog.contents(CONTENTS))],
    "Catalog.contents_by_vector": [returned(lambda large: large.catalog.contents_by_vector(SOME))],
    "Catalog.carriers": [returned(lambda large: large.catalog.carriers(SOME))],
    "Catalog.due_contents": [returned(lambda large: large.catalog.due_contents(NOW, limit=100))],
    "Catalog.due_images": [returned(lambda large: large.catalog.due_images(NOW, limit=100))],
    "Catalog.unreadable_images": [returned(lambda large: large.catalog.unreadable_images(NOW, limit=100))],
    "Catalog.unreadable_contents": [returned(lambda large: large.catalog.unreadable_contents(NOW, limit=100))],
    "Catalog.image_ids": [returned(lambda large: large.catalog.image_ids(BUCKET, limit=100))],
    "Catalog.oldest_dirty": [returned(lambda large: large.catalog.oldest_dirty())],
    "Catalog.page_of_images": [
        returned(lambda large: large.catalog.page_of_images(BUCKET, prefix="", after=ref(10_000).key, limit=1000)),
        returned(lambda large: large.catalog.page_of_images(BUCKET, prefix="00000777/", after="", limit=1000)),
        returned(lambda large: large.catalog.page_of_images(BUCKET, prefix="0000007/", after="", limit=1000)),
    ],
    "Catalog.page_of_contents": [
        returned(lambda large: large.catalog.page_of_contents(BUCKET, after="8" * 64, limit=1000))
    ],
    "Catalog.page_of_contents_by_vector": [
        returned(lambda large: large.catalog.page_of_contents_by_vector(BUCKET, after=10_000, limit=1000))
    ],
    "Catalog.count_images": [returned(lambda large: large.catalog.count_images(BUCKET))],
    "Catalog.count_contents": [returned(lambda large: large.catalog.count_contents(BUCKET))],
    "Catalog.switch": [returned(lambda large: large.catalog.switch())],
    "Catalog.progress": [returned(lambda large: large.catalog.progress("none"))],
    "Catalog.save_progress": [returned(lambda large: large.catalog.save_progress("some", 1, NOW))],
    "Catalog.fold_figures": [_fold],
    "Catalog.check": [returned(lambda large: large.catalog.check())],
    "ImageReader.image": [returned(lambda large: large.reader.image(IDS[0]))],
    "ImageReader.images": [returned(lambda large: large.reader.images(IDS))],
    "ImageReader.page": [
        *(pages(where, order) for where in (EVERYTHING, IN_BUCKET) for order in ImageOrder),
        *(pages(ImageFilter(bucket, state=state)) for bucket in (None, BUCKET) for state in ImageState),
        pages(ImageFilter(BUCKET, prefix="00000777/"), ImageOrder.KEY),
        pages(ImageFilter(BUCKET, key=ref(12_345).key)),
        pages(ImageFilter(external_id="id-12345")),
        *(pages(ImageFilter(BUCKET, sha256=each.sha256)) for each in UNTOLD),
        pages(ImageFilter(sha256=CONTENTS[0].sha256)),
        pages(ImageFilter(md5=CONTENTS[0].sha256[:32])),
    ],
    "ImageReader.count": [
        *(counted(ImageFilter(bucket, state=state)) for bucket in (None, BUCKET) for state in (None, *ImageState)),
        counted(ImageFilter(external_id="id-12345")),
    ],
    "HitReader.hits": [
        found(lambda large: large.reader.hits(SOME, [CONTENTS[0].sha256], EVERYTHING)),
        found(lambda large: large.reader.hits([*SOME, 0], [content_id(0).sha256], IN_BUCKET)),
        found(lambda large: large.reader.hits(SOME, [], ImageFilter(BUCKET, state=ImageState.INDEXED))),
    ],
    "HitReader.by_vector": [returned(lambda large: large.reader.by_vector(SOME, IN_BUCKET))],
    "HitReader.vector_ids": [
        *(vector_ids(ImageFilter(BUCKET, state=state)) for state in ImageState),
        *(vector_ids(ImageFilter(BUCKET, content_type=f"image/{kind}")) for kind in ("jpeg", "png", "gif")),
        *(vector_ids(ImageFilter(BUCKET, prefix=prefix)) for prefix in ("00000777/", "0", "1")),
        *(vector_ids(ImageFilter(BUCKET, size_min=least)) for least in (0, 10**9)),
        *(vector_ids(ImageFilter(BUCKET, size_max=most)) for most in (0, 100, 10**9)),
        vector_ids(ImageFilter(BUCKET, created_from=NOW)),
        vector_ids(ImageFilter(BUCKET, created_to=NOW)),
        vector_ids(ImageFilter(BUCKET, key=ref(12_345).key)),
        vector_ids(ImageFilter(external_id="id-12345")),
        vector_ids(ImageFilter(sha256=CONTENTS[0].sha256)),
        vector_ids(ImageFilter(md5=CONTENTS[0].sha256[:32])),
    ],
    "StatisticsReader.statistics": [
        returned(lambda large: large.reader.statistics(None)),
        returned(lambda large: large.reader.statistics(BUCKET)),
    ],
    "StatisticsReader.indexed_per_minute": [
        returned(lambda large: large.reader.indexed_per_minute(NOW - timedelta(days=1), BUCKET))
    ],
    "StatisticsReader.rejections": [returned(lambda large: large.reader.rejections(None))],
    "StatisticsReader.patrol_rounds": [returned(lambda large: large.reader.patrol_rounds([BUCKET]))],
    "StatisticsReader.switch": [returned(lambda large: large.reader.switch())],
    "StatisticsReader.check": [returned(lambda large: large.reader.check())],
    "DuplicateReader.same_bytes": [
        returned(lambda large: large.reader.same_bytes(None, after=None, limit=100)),
        returned(lambda large: large.reader.same_bytes(BUCKET, after=CONTENTS[0], limit=100)),
    ],
    "DuplicateReader.of_contents": [
        found(lambda large: large.reader.of_contents(UNTOLD)),
    ],
    "DuplicateReader.contents_after": [
        returned(lambda large: large.reader.contents_after(10_000, bucket=BUCKET, limit=100))
    ],
}
