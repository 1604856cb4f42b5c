"""The catalog on SQL: MySQL 8 / MariaDB by asyncmy, SQLite by aiosqlite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Insert,
    RowMapping,
    Select,
    and_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schemas.errors import CatalogOutage
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef
from schemas.tables import contents, images, progress
from stores.catalog.engine import outages
from stores.catalog.migrate import current_is_head
from stores.catalog.ports import Catalog, CatalogTransaction
from stores.catalog.rows import content_record, content_values, image_record, image_values

CHUNK = 500
"""Ids per IN list: SQLite and MySQL both take more, but plans stay stable."""


def insert_ignore(connection: AsyncConnection, table: Any, values: dict[str, Any]) -> Insert:
    """An INSERT that does nothing where the row is there already; it waits for who is inserting it.

    MySQL's ``ON DUPLICATE KEY UPDATE`` of a key column with itself, unlike INSERT IGNORE, hides no other error.
    """
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).values(values).on_conflict_do_nothing()
    column = next(iter(table.primary_key.columns)).name
    return mysql.insert(table).values(values).on_duplicate_key_update({column: table.c[column]})


def prefix_filter(prefix: str) -> ColumnElement[bool]:
    """Keys under a prefix, as a range of bytes that an index serves."""
    clause: ColumnElement[bool] = images.c.object_key >= prefix
    return (
        and_(clause, func.substr(images.c.object_key, 1, len(prefix.encode())) == prefix.encode()) if prefix else clause
    )


class SqlTransaction(CatalogTransaction):
    """One transaction on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def rows(self, query: Select[Any]) -> list[RowMapping]:
        """The rows of a query within the transaction."""
        with outages():
            result = await self.connection.execute(query)
        return list(result.mappings().all())

    async def write(self, statement: Any) -> int:
        """Run a statement within the transaction; the number of rows that it matched."""
        with outages():
            result = await self.connection.execute(statement)
        return int(result.rowcount)

    async def lock_image(self, ref: ObjectRef, now: datetime) -> ImageRecord:
        query = select(images).where(images.c.id == ref.image_id).with_for_update()
        rows = await self.rows(query)
        if not rows:
            placeholder = ImageRecord(ref.image_id, ref.bucket, ref.key, created_at=now, updated_at=now)
            values = {"id": ref.image_id, "bucket": ref.bucket, "object_key": ref.key, **image_values(placeholder)}
            await self.write(_insert_image(self.connection, values))
            rows = await self.rows(query)
        return image_record(rows[0])

    async def lock_images(self, image_ids: Collection[str]) -> list[ImageRecord]:
        rows = await self.rows(
            select(images).where(images.c.id.in_(sorted(image_ids))).order_by(images.c.id).with_for_update()
        )
        return [image_record(row) for row in rows]

    async def save_image(self, image: ImageRecord) -> None:
        await self.write(update(images).where(images.c.id == image.id).values(image_values(image)))

    async def delete_image(self, image_id: str) -> None:
        await self.write(delete(images).where(images.c.id == image_id))

    async def lock_content(self, content_id: ContentId) -> ContentRecord | None:
        rows = await self.rows(select(contents).where(_is(content_id)).with_for_update())
        return content_record(rows[0]) if rows else None

    async def lock_or_create_content(self, fresh: ContentRecord) -> ContentRecord:
        found = await self.lock_content(fresh.id)
        if found is not None:
            return found
        values = {"bucket": fresh.bucket, "sha256": fresh.sha256, **content_values(fresh)}
        await self.write(insert_ignore(self.connection, contents, values))
        created = await self.lock_content(fresh.id)
        if created is None:
            raise CatalogOutage(f"content {fresh.id} vanished between its insert and its lock")
        return created

    async def save_content(self, content: ContentRecord) -> None:
        await self.write(update(contents).where(_is(content.id)).values(content_values(content)))

    async def delete_content(self, content_id: ContentId) -> None:
        await self.write(delete(contents).where(_is(content_id)))

    async def content(self, content_id: ContentId) -> ContentRecord | None:
        rows = await self.rows(select(contents).where(_is(content_id)))
        return content_record(rows[0]) if rows else None

    async def references(self, content_id: ContentId, *, limit: int) -> list[ImageRecord]:
        rows = await self.rows(
            select(images)
            .where(images.c.bucket == content_id.bucket, images.c.content_sha256 == content_id.sha256)
            .order_by(images.c.seq)
            .limit(limit)
        )
        return [image_record(row) for row in rows]

    async def oldest_references(self, bucket: str, digests: Collection[str]) -> dict[str, ImageRecord]:
        if not digests:
            return {}
        oldest = (
            select(func.min(images.c.seq))
            .where(images.c.bucket == bucket, images.c.content_sha256.in_(sorted(digests)))
            .group_by(images.c.content_sha256)
        )
        rows = await self.rows(select(images).where(images.c.seq.in_(oldest)))
        return {row["content_sha256"]: image_record(row) for row in rows}

    async def vector_is_carried(self, vector_id: int) -> bool:
        rows = await self.rows(
            select(contents.c.state).where(
                contents.c.vector_id == vector_id,
                contents.c.state.in_([str(ContentState.PENDING), str(ContentState.INDEXED)]),
            )
        )
        return bool(rows)


def _insert_image(connection: AsyncConnection, values: dict[str, Any]) -> Insert:
    """``seq`` is the primary key, so a row that is there already is recognised by its unique id."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(images).values(values).on_conflict_do_nothing()
    return mysql.insert(images).values(values).on_duplicate_key_update(id=images.c.id)


def _is(content_id: ContentId) -> ColumnElement[bool]:
    return and_(contents.c.bucket == content_id.bucket, contents.c.sha256 == content_id.sha256)


class SqlCatalog(Catalog):
    """The catalog on an engine from :func:`stores.catalog.engine.create_engine`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer; waiting here in order beats sleeping in its busy handler at random.
        self._sqlite_writer = asyncio.Lock()
        self._schema_is_current = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlTransaction]:
        if self._is_sqlite:
            async with self._sqlite_writer, self._begun("BEGIN IMMEDIATE") as connection:
                yield SqlTransaction(connection)
        else:
            async with self._begun(None) as connection:
                yield SqlTransaction(connection)

    @asynccontextmanager
    async def _begun(self, begin: str | None) -> AsyncIterator[AsyncConnection]:
        with outages():
            connection = await self._engine.connect()
        try:
            with outages():
                if begin:
                    await connection.exec_driver_sql(begin)
            yield connection
            with outages():
                await connection.commit()
        finally:
            # Closing rolls back what was not committed, also when the task was cancelled.
            await asyncio.shield(connection.close())

    async def rows(self, query: Select[Any]) -> list[RowMapping]:
        """The rows of a query, as last committed."""
        with outages():
            async with self._engine.connect() as connection:
                result = await connection.execute(query)
                return list(result.mappings().all())

    async def write(self, *statements: Any) -> int:
        async with self.transaction() as tx:
            return sum([await tx.write(statement) for statement in statements])

    async def image(self, ref: ObjectRef) -> ImageRecord | None:
        return (await self.images([ref])).get(ref)

    async def images(self, refs: Sequence[ObjectRef]) -> dict[ObjectRef, ImageRecord]:
        found: dict[ObjectRef, ImageRecord] = {}
        ids = [ref.image_id for ref in refs]
        for start in range(0, len(ids), CHUNK):
            for row in await self.rows(select(images).where(images.c.id.in_(ids[start : start + CHUNK]))):
                record = image_record(row)
                found[record.ref] = record
        return found

    async def contents(self, content_ids: Sequence[ContentId]) -> dict[ContentId, ContentRecord]:
        found: dict[ContentId, ContentRecord] = {}
        for start in range(0, len(content_ids), CHUNK):
            clause = or_(*[_is(content_id) for content_id in content_ids[start : start + CHUNK]])
            for row in await self.rows(select(contents).where(clause)):
                record = content_record(row)
                found[record.id] = record
        return found

    async def contents_by_vector(self, vector_ids: Collection[int]) -> dict[int, ContentRecord]:
        if not vector_ids:
            return {}
        rows = await self.rows(select(contents).where(contents.c.vector_id.in_(sorted(vector_ids))))
        return {row["vector_id"]: content_record(row) for row in rows}

    async def clear_dirty(self, content_id: ContentId, *, version: int, vector_id: int) -> bool:
        cleaned = update(contents).where(
            _is(content_id), contents.c.version == version, contents.c.vector_id == vector_id
        )
        return await self.write(cleaned.values(dirty_since=None, resend_due=None)) > 0

    async def unpublished_ids(
        self, content_id: ContentId, *, published_state: str, after: str, limit: int
    ) -> list[str]:
        rows = await self.rows(
            select(images.c.id)
            .where(
                images.c.bucket == content_id.bucket,
                images.c.content_sha256 == content_id.sha256,
                images.c.id > after,
                or_(
                    images.c.version != images.c.published_version,
                    images.c.published_state.is_(None),
                    images.c.published_state != published_state,
                    images.c.publish_due.is_not(None),
                ),
            )
            .order_by(images.c.id)
            .limit(limit)
        )
        return [row["id"] for row in rows]

    async def due_contents(self, now: datetime, *, limit: int) -> list[ContentRecord]:
        rows = await self.rows(
            select(contents).where(contents.c.resend_due <= now).order_by(contents.c.resend_due).limit(limit)
        )
        return [content_record(row) for row in rows]

    async def postpone_contents(self, postponed: Sequence[tuple[ContentId, datetime]]) -> None:
        still_dirty = contents.c.dirty_since.is_not(None)
        await self.write(
            *[update(contents).where(_is(cid), still_dirty).values(resend_due=due) for cid, due in postponed]
        )

    async def due_images(self, now: datetime, *, limit: int) -> list[str]:
        rows = await self.rows(
            select(images.c.id).where(images.c.publish_due <= now).order_by(images.c.publish_due).limit(limit)
        )
        return [row["id"] for row in rows]

    async def oldest_dirty(self) -> datetime | None:
        rows = await self.rows(select(func.min(contents.c.dirty_since).label("since")))
        since: datetime | None = rows[0]["since"]
        return since

    async def page_of_images(self, bucket: str, *, prefix: str, after: str, limit: int) -> list[ImageRecord]:
        rows = await self.rows(
            select(images)
            .where(images.c.bucket == bucket, prefix_filter(prefix), images.c.object_key > after)
            .where(images.c.etag.is_not(None))
            .order_by(images.c.object_key)
            .limit(limit)
        )
        return [image_record(row) for row in rows]

    async def page_of_contents(self, bucket: str, *, after: str, limit: int) -> list[ContentRecord]:
        rows = await self.rows(
            select(contents)
            .where(contents.c.bucket == bucket, contents.c.sha256 > after)
            .order_by(contents.c.sha256)
            .limit(limit)
        )
        return [content_record(row) for row in rows]

    async def page_of_contents_by_vector(self, bucket: str, *, after: int, limit: int) -> list[ContentRecord]:
        rows = await self.rows(
            select(contents)
            .where(contents.c.bucket == bucket, contents.c.vector_id > after)
            .order_by(contents.c.vector_id)
            .limit(limit)
        )
        return [content_record(row) for row in rows]

    async def count_images(self, bucket: str, *, prefix: str = "") -> int:
        rows = await self.rows(
            select(func.count().label("n"))
            .select_from(images)
            .where(images.c.bucket == bucket, prefix_filter(prefix), images.c.etag.is_not(None))
        )
        return int(rows[0]["n"])

    async def progress(self, name: str) -> Any:
        rows = await self.rows(select(progress.c.position).where(progress.c.name == name))
        return rows[0]["position"] if rows else None

    async def save_progress(self, name: str, position: Any, now: datetime) -> None:
        forget = delete(progress).where(progress.c.name == name)
        if position is None:
            await self.write(forget)
        else:
            await self.write(forget, insert(progress).values(name=name, position=position, updated_at=now))

    async def check(self) -> None:
        if self._schema_is_current:
            await self.rows(select(literal(1)))
            return
        if not await current_is_head(self._engine):
            raise CatalogOutage("the database's schema is not the one that this version expects: run `twinlens setup`")
        self._schema_is_current = True

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()
