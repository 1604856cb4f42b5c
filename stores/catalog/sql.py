"""The catalog on SQL: MySQL 8 / MariaDB by asyncmy, SQLite by aiosqlite. The statements are in ``statements``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime
from itertools import batched
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Executable, Table, delete, func, insert, literal, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schemas.errors import CatalogOutage, ModelsChanged
from schemas.model_switch import ModelSwitch
from schemas.records import ContentId, ContentRecord, ImageRecord, ObjectRef
from schemas.tables import contents, count_changes, images, model_switch, progress
from stores.catalog import figures, statements
from stores.catalog.engine import AnyRow, fetch_rows, on_living_connection, outages
from stores.catalog.figures import FigureKind, Tally
from stores.catalog.ports import Carrier, Catalog, CatalogTransaction, Reference
from stores.catalog.reading.conditions import starts_with
from stores.catalog.revision import current_is_newest
from stores.catalog.rows import (
    content_record,
    content_values,
    image_record,
    image_values,
    switch_record,
    switch_values,
)

CHUNK = 500
"""Rows named by one query: SQLite joins no more SELECTs than that."""

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class SqlTransaction(CatalogTransaction):
    """One transaction on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self._on_sqlite = connection.dialect.name == "sqlite"
        self._tally = Tally()
        self._expected_switch: int | None = None
        self._images: dict[str, ImageRecord] = {}
        self._contents: dict[ContentId, ContentRecord] = {}

    async def rows(self, query: Executable, parameters: Parameters = None) -> Sequence[AnyRow]:
        """The rows of a query within the transaction."""
        with outages():
            return (await self.connection.execute(query, parameters)).all()

    async def _run(self, statement: statements.TextAndParameters) -> CursorResult[*tuple[Any, ...]]:
        with outages():
            return await self.connection.exec_driver_sql(*statement)

    async def write(self, statement: Executable, parameters: Parameters = None) -> None:
        """Run a statement within the transaction, once for all the parameters if it is an INSERT of VALUES."""
        with outages():
            await self.connection.execute(statement, parameters)

    async def insert_missing(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows where there are none with the same identity."""
        await self.write(statements.insert_missing(table, on_sqlite=self._on_sqlite), rows)

    async def save(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Overwrite rows."""
        await self.write(statements.save(table, on_sqlite=self._on_sqlite), rows)

    async def lock_images(
        self, image_ids: Collection[str], *, create: Collection[ImageRecord] = ()
    ) -> dict[str, ImageRecord]:
        if create:
            await self.insert_missing(images, [image_values(image) for image in _in_order(create)])
        fresh_ids = {image.id for image in create}
        ids = sorted({*image_ids, *fresh_ids})
        rows = await self.rows(statements.LOCK_IMAGES, {"ids": ids}) if ids else ()
        found = {record.id: record for record in map(image_record, rows)}
        self._images |= found
        return _with_all(found, fresh_ids)

    async def save_images(self, images_: Collection[ImageRecord]) -> None:
        if not images_:
            return
        for image in images_:
            self._tally.image(self._images[image.id], image)
            self._images[image.id] = image
        rows = [{"seq": image.seq, **image_values(image)} for image in _in_order(images_)]
        if self._on_sqlite:
            await self.save(images, rows)
            return
        await self._run(statements.update_images(rows, self.connection.dialect))

    async def delete_images(self, image_ids: Collection[str]) -> None:
        for image_id in image_ids:
            self._tally.image(self._images.pop(image_id), None)
        if image_ids:
            await self._run(statements.delete_images(sorted(image_ids), on_sqlite=self._on_sqlite))

    async def lock_contents(
        self, content_ids: Collection[ContentId], *, create: Collection[ContentRecord] = ()
    ) -> dict[ContentId, ContentRecord]:
        if create:
            await self.insert_missing(contents, [content_values(content) for content in _in_order(create)])
        fresh_ids = {content.id for content in create}
        buckets, parameters = statements.in_buckets({*content_ids, *fresh_ids})
        rows = await self.rows(statements.select_contents_for_update(buckets), parameters) if buckets else ()
        found = {record.id: record for record in map(content_record, rows)}
        self._contents |= found
        return _with_all(found, fresh_ids)

    async def save_contents(self, contents_: Collection[ContentRecord]) -> None:
        for content in contents_:
            self._tally.content(self._contents[content.id], content)
            self._contents[content.id] = content
        if contents_:
            await self.save(
                contents,
                [
                    {**content_values(content), "objects": self._tally.take_gain(content.id)}
                    for content in _in_order(contents_)
                ],
            )

    async def delete_contents(self, content_ids: Collection[ContentId]) -> None:
        for content_id in content_ids:
            self._tally.content(self._contents.pop(content_id), None)
        if content_ids:
            await self._run(statements.delete_contents(sorted(content_ids), on_sqlite=self._on_sqlite))

    async def contents(self, content_ids: Collection[ContentId]) -> dict[ContentId, ContentRecord]:
        found: dict[ContentId, ContentRecord] = {}
        for some in batched(content_ids, CHUNK):
            buckets, parameters = statements.in_buckets(some)
            rows = await self.rows(statements.select_contents(buckets), parameters)
            found |= {record.id: record for record in map(content_record, rows)}
        return found

    async def oldest_references(
        self, content_ids: Collection[ContentId], *, limit: int = 1
    ) -> dict[ContentId, list[Reference]]:
        oldest: dict[ContentId, list[Reference]] = {}
        for some in batched(set(content_ids), CHUNK):
            rows = await self._run(statements.oldest_references(some, limit, on_sqlite=self._on_sqlite))
            for bucket, sha256, _, image_id, key in sorted(rows, key=_seq):
                reference = Reference(image_id, bucket, bytes(key).decode())
                oldest.setdefault(ContentId(bucket, sha256), []).append(reference)
        return oldest

    async def unpublished_references(
        self, published_states: Mapping[ContentId, str], *, limit: int
    ) -> dict[ContentId, list[str]]:
        unpublished: dict[ContentId, list[str]] = {}
        for some in batched(published_states.items(), CHUNK):
            rows = await self._run(statements.unpublished_references(some, limit, on_sqlite=self._on_sqlite))
            for bucket, sha256, image_id in rows:
                unpublished.setdefault(ContentId(bucket, sha256), []).append(image_id)
        return unpublished

    async def save_figures(self) -> None:
        """Write down what this transaction has changed of the kept figures.

        The contents that images came to or left are locked by whoever moved them.
        """
        rows = self._tally.rows()
        if self._expected_switch is not None:
            await self._save_if_expected(rows, self._expected_switch)
        elif rows:
            await self.write(insert(count_changes), rows)
        if gains := self._tally.gains():
            await self._run(statements.count_objects(gains, on_sqlite=self._on_sqlite))

    def expect_switch(self, version: int) -> None:
        self._expected_switch = version

    async def lock_switch(self) -> ModelSwitch:
        await self.insert_missing(model_switch, [switch_values(ModelSwitch())])
        return switch_record((await self.rows(statements.LOCK_SWITCH))[0])

    async def save_switch(self, switch: ModelSwitch) -> None:
        await self.save(model_switch, [switch_values(switch)])

    async def _save_if_expected(self, rows: Sequence[Mapping[str, Any]], expected: int) -> None:
        """Write figures if the switch of models has this version, which stays so until the commit that follows.

        One statement for both, since every batch has them.
        """
        if rows:
            as_expected = statements.insert_if_switch_is(expected, rows, on_sqlite=self._on_sqlite)
            is_expected = (await self._run(as_expected)).rowcount > 0
        else:
            versions = await self.rows(statements.SWITCH_VERSION)
            is_expected = [version for (version,) in versions] == [expected]
        if not is_expected:
            raise ModelsChanged(f"the models that are served have changed since version {expected} of their switch")

    async def carried_vectors(self, vector_ids: Collection[int]) -> set[int]:
        rows = await self.rows(statements.CARRIED_VECTORS, {"ids": sorted(vector_ids)}) if vector_ids else ()
        return {vector_id for (vector_id,) in rows}


def _in_order[R: (ImageRecord, ContentRecord)](records: Iterable[R]) -> list[R]:
    return sorted(records, key=lambda record: record.id)


def _with_all[K, R](found: dict[K, R], fresh_ids: Collection[K]) -> dict[K, R]:
    """What was locked, after an insert of those that were missing."""
    if absent := [fresh_id for fresh_id in fresh_ids if fresh_id not in found]:
        # Its vector id, say, is that of another content: the next attempt draws a new one.
        raise CatalogOutage(f"{absent[0]} could not be inserted: another row is in its way")
    return found


def _seq(row: AnyRow) -> int:
    number: int = row[2]
    return number


class SqlCatalog(Catalog):
    """The catalog on an engine from :func:`stores.catalog.engine.create_engine`; ``buckets`` of None means all."""

    def __init__(self, engine: AsyncEngine, buckets: Collection[str] | None = None) -> None:
        self.buckets = buckets
        self._engine = engine
        self._on_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer; waiting here in order beats sleeping in its busy handler at random.
        self._sqlite_writer = asyncio.Lock()
        self._schema_is_current = False

    @asynccontextmanager
    async def transaction(self, *, repeatable: bool = False) -> AsyncIterator[SqlTransaction]:
        """See Catalog. A ``repeatable`` one reads everything as of one moment, which SQLite always does."""
        async with self._sqlite_writer if self._on_sqlite else nullcontext():
            connection = await on_living_connection(lambda: self._begin(repeatable=repeatable))
            try:
                tx = SqlTransaction(connection)
                yield tx
                await tx.save_figures()
                with outages():
                    await connection.exec_driver_sql("COMMIT")
            except BaseException:
                await asyncio.shield(_roll_back(connection))
                raise
            await asyncio.shield(connection.close())

    async def _begin(self, *, repeatable: bool) -> AsyncConnection:
        connection = await self._engine.connect()
        try:
            if repeatable and not self._on_sqlite:
                await connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            # FOR UPDATE compiles to nothing on SQLite, so a transaction takes the one lock that there is.
            await connection.exec_driver_sql("BEGIN IMMEDIATE" if self._on_sqlite else "BEGIN")
        except BaseException:
            await asyncio.shield(connection.close())
            raise
        return connection

    async def rows(self, query: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[AnyRow]:
        """The rows of a query, as last committed."""
        return await fetch_rows(self._engine, query, parameters)

    async def images(self, refs: Collection[ObjectRef]) -> dict[ObjectRef, ImageRecord]:
        found: dict[ObjectRef, ImageRecord] = {}
        for ids in batched([ref.image_id for ref in refs], CHUNK):
            rows = await self.rows(statements.SELECT_IMAGES, {"ids": ids})
            found |= {record.ref: record for record in map(image_record, rows)}
        return found

    async def contents(self, content_ids: Collection[ContentId]) -> dict[ContentId, ContentRecord]:
        found: dict[ContentId, ContentRecord] = {}
        for some in batched(content_ids, CHUNK):
            buckets, parameters = statements.in_buckets(some)
            rows = await self.rows(statements.select_contents(buckets), parameters)
            found |= {record.id: record for record in map(content_record, rows)}
        return found

    async def contents_by_vector(self, vector_ids: Collection[int]) -> dict[int, ContentRecord]:
        found: dict[int, ContentRecord] = {}
        for ids in batched(vector_ids, CHUNK):
            rows = await self.rows(statements.CONTENTS_BY_VECTOR, {"ids": ids})
            found |= {record.vector_id: record for record in map(content_record, rows)}
        return found

    async def carriers(self, vector_ids: Collection[int]) -> dict[int, Carrier]:
        found: dict[int, Carrier] = {}
        for ids in batched(vector_ids, CHUNK):
            for vector_id, bucket, sha256, key in await self.rows(statements.CARRIERS, {"ids": ids}):
                oldest = None if key is None else ObjectRef(bucket, key)
                found[vector_id] = Carrier(ContentId(bucket, sha256), oldest)
        return found

    async def due_contents(self, now: datetime, *, limit: int) -> list[ContentRecord]:
        due = select(contents).where(contents.c.resend_due <= now, *self._ours(contents))
        listed = statements.by_index("ix_contents_resend_due", due, contents).order_by(contents.c.resend_due)
        return [content_record(row) for row in await self.rows(listed.limit(limit))]

    async def due_images(self, now: datetime, *, limit: int) -> list[ImageRecord]:
        due = select(images).where(images.c.publish_due <= now, *self._ours(images))
        listed = statements.by_index("ix_images_publish_due", due, images).order_by(images.c.publish_due)
        return [image_record(row) for row in await self.rows(listed.limit(limit))]

    async def unreadable_images(self, now: datetime, *, limit: int) -> list[ImageRecord]:
        due = select(images).where(images.c.retry_due <= now, *self._ours(images))
        listed = statements.by_index("ix_images_retry_due", due, images).order_by(images.c.retry_due)
        return [image_record(row) for row in await self.rows(listed.limit(limit))]

    async def unreadable_contents(self, now: datetime, *, limit: int) -> list[ContentRecord]:
        due = select(contents).where(contents.c.retry_due <= now, *self._ours(contents))
        listed = statements.by_index("ix_contents_retry_due", due, contents).order_by(contents.c.retry_due)
        return [content_record(row) for row in await self.rows(listed.limit(limit))]

    async def oldest_dirty(self) -> datetime | None:
        dirty = select(contents.c.dirty_since).where(contents.c.dirty_since.is_not(None), *self._ours(contents))
        listed = statements.by_index("ix_contents_dirty_since", dirty, contents).order_by(contents.c.dirty_since)
        rows = await self.rows(listed.limit(1))
        return rows[0][0] if rows else None

    def _ours(self, table: Table) -> list[ColumnElement[bool]]:
        return [] if self.buckets is None else [table.c.bucket.in_(self.buckets)]

    async def page_of_images(self, bucket: str, *, prefix: str, after: str, limit: int) -> list[ImageRecord]:
        rows = await self.rows(
            select(images)
            .where(images.c.bucket == bucket, images.c.object_key > after, images.c.etag.is_not(None))
            .where(*([starts_with(prefix)] if prefix else []))
            .order_by(images.c.object_key)
            .limit(limit)
        )
        return [image_record(row) for row in rows]

    async def image_ids(self, bucket: str, *, limit: int) -> list[str]:
        rows = await self.rows(select(images.c.id).where(images.c.bucket == bucket).limit(limit))
        return [image_id for (image_id,) in rows]

    async def page_of_contents(self, bucket: str, *, after: str, limit: int) -> list[ContentRecord]:
        rows = await self.rows(
            select(contents)
            .where(contents.c.bucket == bucket, contents.c.sha256 > after)
            .order_by(contents.c.sha256)
            .limit(limit)
        )
        return [content_record(row) for row in rows]

    async def page_of_contents_by_vector(self, bucket: str, *, after: int, limit: int) -> list[ContentRecord]:
        query = select(contents).where(contents.c.bucket == bucket, contents.c.vector_id > after)
        query = statements.by_index("ix_contents_bucket_vector_id", query, contents)
        rows = await self.rows(query.order_by(contents.c.vector_id).limit(limit))
        return [content_record(row) for row in rows]

    async def count_images(self, bucket: str, *, prefix: str = "") -> int:
        if not prefix:
            kept = await self.rows(
                figures.FIGURES_IN_BUCKETS, {"kind": FigureKind.IMAGES, "since": "", "buckets": [bucket]}
            )
            return sum(int(number) for _, number, _ in kept)
        rows = await self.rows(
            select(func.count())
            .select_from(images)
            .where(images.c.bucket == bucket, starts_with(prefix), images.c.etag.is_not(None))
        )
        return int(rows[0][0])

    async def count_contents(self, bucket: str) -> int:
        kept = await self.rows(
            figures.FIGURES_IN_BUCKETS, {"kind": FigureKind.CONTENTS, "since": "", "buckets": [bucket]}
        )
        return sum(int(number) for _, number, _ in kept)

    async def switch(self) -> ModelSwitch:
        rows = await self.rows(statements.SELECT_SWITCH)
        return switch_record(rows[0]) if rows else ModelSwitch()

    async def progress(self, name: str) -> Any:
        rows = await self.rows(select(progress.c.position).where(progress.c.name == name))
        return rows[0][0] if rows else None

    async def save_progress(self, name: str, position: Any, now: datetime) -> None:
        async with self.transaction() as tx:
            if position is None:
                await tx.write(delete(progress).where(progress.c.name == name))
            else:
                await tx.save(progress, [{"name": name, "position": position, "updated_at": now}])

    async def fold_figures(self, now: datetime) -> int:
        async with self.transaction() as tx:
            return await figures.fold(tx, now, on_sqlite=self._on_sqlite)

    async def recount(self, counted: Callable[[int], object] = lambda _number: None) -> None:
        """Count anew what is kept of figures, while others write. Reads images and contents from end to end.

        ``counted`` is told how many contents each step has counted.
        """
        async with self.transaction(repeatable=True) as tx:
            await figures.recount(tx, on_sqlite=self._on_sqlite)
        await self._recount_objects(counted)

    async def _recount_objects(self, counted: Callable[[int], object]) -> None:
        """Count anew how many objects each content has. Only those that are wrong are locked, one at a time."""
        last = {"of_bucket": "", "of_sha256": ""}
        while page := await self.rows(figures.MISCOUNTED, last):
            for bucket, sha256, wrong in page:
                last = {"of_bucket": bucket, "of_sha256": sha256}
                if wrong:
                    async with self.transaction() as tx:
                        await tx.lock_contents([ContentId(bucket, sha256)])
                        await tx.write(figures.COUNT_OBJECTS, last)
            counted(len(page))

    async def check(self) -> None:
        if self._schema_is_current:
            await self.rows(select(literal(1)))
            return
        if not await current_is_newest(self._engine):
            raise CatalogOutage("the database's schema is not the one that this version expects: run `twinlens setup`")
        self._schema_is_current = True

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


async def _roll_back(connection: AsyncConnection) -> None:
    """No lock may stay: a connection that can't be rolled back is closed, which makes the server do it.

    One that was cancelled in the middle of a statement was closed by SQLAlchemy.
    """
    try:
        if not connection.invalidated:
            await connection.exec_driver_sql("ROLLBACK")
    except SQLAlchemyError:
        await connection.invalidate()
    finally:
        await connection.close()
