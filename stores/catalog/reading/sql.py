"""The reading ports on SQL: SQLite and MySQL 8 / MariaDB 10.2 and later (window functions)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Executable, Row, Select, String, and_, bindparam, case, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.records import ContentId, ContentRecord, ContentState
from schemas.settings import DatabaseSettings
from schemas.tables import contents, images
from stores.catalog.engine import create_engine, fetch
from stores.catalog.reading.conditions import (
    EXISTS,
    IS_INDEXED,
    IS_PENDING,
    IS_REJECTED,
    SEARCHABLE,
    matches,
    of_content,
    with_content,
)
from stores.catalog.reading.found import grouped, numbered_among, numbered_found, parameters, rows_found
from stores.catalog.reading.ports import (
    CatalogImage,
    CatalogReader,
    FoundContent,
    ImageFilter,
    ImageOrder,
    Position,
    SameBytes,
    Statistics,
)
from stores.catalog.reading.rows import CONTENT_COLUMNS, JOINED_COLUMNS, content_record, joined_record

_CHUNK = 500
_JOINED = select(*JOINED_COLUMNS).select_from(with_content())
"""Images with their contents, built once."""
_BY_ID = _JOINED.where(EXISTS, images.c.id.in_(bindparam("ids", expanding=True)))


def open_reader(settings: DatabaseSettings) -> SqlCatalogReader:
    """The reader on connections of its own. Connects on first use."""
    return SqlCatalogReader(create_engine(settings))


class SqlCatalogReader(CatalogReader):
    """Each call is a short read on a pooled connection, or two. A connection that was lost is replaced once a read."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def _rows(self, query: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        return await fetch(self._engine, query, parameters)

    async def image(self, image_id: str) -> CatalogImage | None:
        return (await self.images([image_id])).get(image_id)

    async def images(self, image_ids: Collection[str]) -> dict[str, CatalogImage]:
        found: dict[str, CatalogImage] = {}
        wanted = sorted(image_ids)
        for start in range(0, len(wanted), _CHUNK):
            for row in await self._rows(_BY_ID, {"ids": wanted[start : start + _CHUNK]}):
                found[row.id] = joined_record(row)
        return found

    async def page(
        self, where: ImageFilter, *, order: ImageOrder, after: Position | None, limit: int, offset: int = 0
    ) -> list[CatalogImage]:
        query = _JOINED.where(*matches(where))
        query = _ordered(query, order, after).limit(limit).offset(offset)
        return [joined_record(row) for row in await self._rows(query)]

    async def count(self, where: ImageFilter) -> int:
        query = select(func.count().label("n")).select_from(with_content()).where(*matches(where))
        return int((await self._rows(query))[0].n)

    async def hits(
        self, vector_ids: Collection[int], digests: Collection[str], where: ImageFilter
    ) -> list[FoundContent]:
        if not vector_ids and not digests:
            return []
        looked_for = parameters(vector_ids, digests)
        rows = await self._rows(rows_found(where), looked_for)
        if len(rows) < looked_for["most"]:
            return grouped(rows, numbered=False)
        return grouped(await self._rows(numbered_found(where), looked_for), numbered=True)

    async def by_vector(self, vector_ids: Collection[int], where: ImageFilter) -> Mapping[int, FoundContent]:
        return {each.content.vector_id: each for each in await self.hits(vector_ids, (), where)}

    async def vector_ids(self, where: ImageFilter, *, limit: int) -> list[int]:
        query = (
            select(contents.c.vector_id)
            .distinct()
            .select_from(of_content())
            .where(contents.c.state.in_(SEARCHABLE), *matches(where))
            .limit(limit)
        )
        return [row.vector_id for row in await self._rows(query)]

    async def statistics(self, bucket: str | None) -> Statistics:
        query = (
            select(
                func.count().label("objects"),
                _count(IS_PENDING).label("pending"),
                _count(IS_INDEXED).label("indexed"),
                _count(IS_REJECTED).label("rejected"),
                func.coalesce(func.sum(images.c.size), 0).label("bytes"),
                func.min(case((IS_PENDING, images.c.updated_at))).label("oldest_pending"),
            )
            .select_from(with_content())
            .where(*matches(ImageFilter(bucket=bucket)))
        )
        distinct = select(func.count().label("n")).select_from(contents)
        distinct = distinct.where(contents.c.state != str(ContentState.DELETING), *_in_bucket(bucket))
        row = (await self._rows(query))[0]
        return Statistics(
            objects=int(row.objects),
            pending=int(row.pending),
            indexed=int(row.indexed),
            rejected=int(row.rejected),
            bytes=int(row.bytes),
            contents=int((await self._rows(distinct))[0].n),
            oldest_pending=row.oldest_pending,
        )

    async def indexed_per_minute(self, since: datetime, bucket: str | None) -> dict[datetime, int]:
        # The databases have no common function for "the start of the minute", and an hour's times are few.
        query = select(contents.c.indexed_at).where(contents.c.indexed_at >= since, *_in_bucket(bucket))
        counts: dict[datetime, int] = {}
        for row in await self._rows(query):
            minute = row.indexed_at.replace(second=0, microsecond=0)
            counts[minute] = counts.get(minute, 0) + 1
        return counts

    async def rejections(self, bucket: str | None) -> dict[str, int]:
        reason = func.coalesce(images.c.reason, contents.c.reason, literal("unknown", String))
        slug = func.substr(reason, 1, func.instr(reason + ":", ":") - 1).label("slug")
        query = (
            select(slug, func.count().label("n"))
            .select_from(with_content())
            .where(*matches(ImageFilter(bucket=bucket)), IS_REJECTED)
            .group_by(slug)
        )
        counted = {row.slug: int(row.n) for row in await self._rows(query)}
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    async def same_bytes(self, bucket: str | None, *, after: ContentId | None, limit: int) -> list[SameBytes]:
        objects = func.count().label("objects")
        query = (
            select(images.c.bucket, images.c.content_sha256, objects)
            .where(EXISTS, images.c.content_sha256.is_not(None), images.c.reason.is_(None))
            .group_by(images.c.bucket, images.c.content_sha256)
            .having(func.count() > 1)
            .order_by(images.c.bucket, images.c.content_sha256)
            .limit(limit)
        )
        if bucket is not None:
            query = query.where(images.c.bucket == bucket)
        if after is not None:
            query = query.where(_beyond((images.c.bucket, images.c.content_sha256), after))
        rows = await self._rows(query)
        return [SameBytes(ContentId(row.bucket, row.content_sha256), int(row.objects)) for row in rows]

    async def of_contents(self, content_ids: Sequence[ContentId]) -> dict[ContentId, FoundContent]:
        if not content_ids:
            return {}
        rows = await self._rows(numbered_among(content_ids))
        return {each.content.id: each for each in grouped(rows, numbered=True)}

    async def contents_after(self, vector_id: int, *, bucket: str | None, limit: int) -> list[ContentRecord]:
        query = (
            select(*CONTENT_COLUMNS)
            .where(contents.c.vector_id > vector_id, contents.c.state == str(ContentState.INDEXED))
            .where(*_in_bucket(bucket))
            .order_by(contents.c.vector_id)
            .limit(limit)
        )
        return [content_record(row) for row in await self._rows(query)]

    async def check(self) -> None:
        await self._rows(select(images.c.id).limit(1))
        await self._rows(select(contents.c.sha256).limit(1))

    async def close(self) -> None:
        await self._engine.dispose()


def _in_bucket(bucket: str | None) -> list[ColumnElement[bool]]:
    return [] if bucket is None else [contents.c.bucket == bucket]


def _count(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _ordered(query: Select[Any], order: ImageOrder, after: Position | None) -> Select[Any]:
    if order is ImageOrder.KEY:
        by_key = (images.c.bucket, images.c.object_key)
        if after is not None:
            query = query.where(_beyond(by_key, (after.bucket, after.key)))
        return query.order_by(*by_key)
    if order is ImageOrder.OLDEST:
        query = query if after is None else query.where(images.c.seq > after.seq)
        return query.order_by(images.c.seq)
    query = query if after is None else query.where(images.c.seq < after.seq)
    return query.order_by(images.c.seq.desc())


def _beyond(columns: tuple[Any, Any], position: tuple[str, str]) -> ColumnElement[bool]:
    """Row order spelt out: MySQL uses an index for this, and not for a comparison of row values."""
    first, second = columns
    return or_(first > position[0], and_(first == position[0], second > position[1]))
