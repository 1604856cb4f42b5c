"""The reading ports on SQL: SQLite and MySQL 8 / MariaDB 10.2 and later (window functions)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Executable, Row, Select, and_, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.model_switch import ModelSwitch
from schemas.patrol import PatrolRound, last_round_name
from schemas.records import ContentId, ContentRecord, ContentState, ImageState
from schemas.settings import DatabaseSettings
from schemas.tables import contents, images, progress
from stores.catalog.engine import create_engine, fetch_rows
from stores.catalog.figures import FIGURES, FIGURES_IN_BUCKETS, FigureKind, minute_label, minute_of
from stores.catalog.reading.conditions import (
    EXISTS,
    SEARCHABLE,
    has_format,
    matches,
    of_content,
    with_content,
)
from stores.catalog.reading.found import (
    Popular,
    count_of_one,
    found_content,
    grouped,
    oldest_of_one,
    parameters,
    rows_among,
    rows_found,
)
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
from stores.catalog.reading.rows import CONTENT_COLUMNS, JOINED_COLUMNS, joined_record, listed_content
from stores.catalog.rows import switch_record
from stores.catalog.statements import SELECT_SWITCH, by_index

_CHUNK = 500
_JOINED = select(*JOINED_COLUMNS).select_from(with_content())
"""Images with their contents, built once."""
_BY_ID = _JOINED.where(EXISTS, images.c.id.in_(bindparam("ids", expanding=True)))


class _Figure(NamedTuple):
    """How many, and how many bytes they have."""

    number: int = 0
    bytes: int = 0


def open_reader(settings: DatabaseSettings, buckets: Collection[str] | None = None) -> SqlCatalogReader:
    """The reader on connections of its own. Connects on first use."""
    return SqlCatalogReader(create_engine(settings), buckets)


class SqlCatalogReader(CatalogReader):
    """Each call is a short read on a pooled connection, or two. A connection that was lost is replaced once a read.

    ``buckets`` of None means all.
    """

    def __init__(self, engine: AsyncEngine, buckets: Collection[str] | None = None) -> None:
        self._engine = engine
        self._buckets = None if buckets is None else tuple(sorted(buckets))

    async def _rows(self, query: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        return await fetch_rows(self._engine, query, parameters)

    async def image(self, image_id: str) -> CatalogImage | None:
        return (await self.images([image_id])).get(image_id)

    async def images(self, image_ids: Collection[str]) -> dict[str, CatalogImage]:
        found: dict[str, CatalogImage] = {}
        wanted = sorted(image_ids)
        for start in range(0, len(wanted), _CHUNK):
            for row in await self._rows(_BY_ID, {"ids": wanted[start : start + _CHUNK]}):
                if self._has(row.bucket):
                    found[row.id] = joined_record(row)
        return found

    async def page(
        self, where: ImageFilter, *, order: ImageOrder, after: Position | None, limit: int, offset: int = 0
    ) -> list[CatalogImage]:
        query = _JOINED.where(*self._matches(where))
        if where.sha256 is not None and where.bucket is not None:
            # A popular content has more images than MySQL expects: it would go through all images in their order.
            query = by_index("ix_images_content", query, images)
        query = _ordered(query, order, after).limit(limit).offset(offset)
        return [joined_record(row) for row in await self._rows(query)]

    async def count(self, where: ImageFilter) -> int:
        if where == ImageFilter(bucket=where.bucket, state=where.state):
            kept = await self._figures(FigureKind.IMAGES, where.bucket)
            return sum(figure.number for state, figure in kept.items() if where.state in (None, state))
        query = select(func.count().label("n")).select_from(with_content()).where(*self._matches(where))
        return int((await self._rows(query))[0].n)

    async def hits(
        self, vector_ids: Collection[int], digests: Collection[str], where: ImageFilter
    ) -> list[FoundContent]:
        if not vector_ids and not digests:
            return []
        rows = await self._rows(rows_found(self._narrowed(where)), parameters(vector_ids, digests))
        return await self._found(rows, where)

    async def _found(self, rows: Sequence[Row[Any]], where: ImageFilter) -> list[FoundContent]:
        """The contents in the rows, the one with the oldest image first."""
        found, popular = grouped(rows)
        for each in popular:
            if (content := await self._popular(each, where)) is not None:
                found.append(content)
        return sorted(found, key=lambda each: each.images[0].seq)

    async def _popular(self, popular: Popular, where: ImageFilter) -> FoundContent | None:
        """A content of many objects, with the oldest of those that match, if any do."""
        name, ours = popular.content.id._asdict(), self._narrowed(where)
        joined = [joined_record(row) for row in await self._rows(oldest_of_one(ours), name)]
        if not joined:
            return None
        total = popular.objects
        if where.narrows_beyond_bucket:
            total = int((await self._rows(count_of_one(ours), name))[0][0])
        return found_content(joined, total)

    async def by_vector(self, vector_ids: Collection[int], where: ImageFilter) -> Mapping[int, FoundContent]:
        return {each.content.vector_id: each for each in await self.hits(vector_ids, (), where)}

    async def vector_ids(self, where: ImageFilter, *, limit: int) -> list[int]:
        if where.state not in (None, ImageState.PENDING, ImageState.INDEXED):
            return []
        # A vector's bytes were decoded, so that their type is known.
        typed = [] if where.content_type is None else [has_format(where.content_type)]
        query = (
            select(contents.c.vector_id)
            .select_from(of_content())
            .where(contents.c.state.in_(SEARCHABLE), *typed, *self._matches(replace(where, content_type=None)))
            .limit(limit)
        )
        return [row.vector_id for row in await self._rows(query)]

    async def statistics(self, bucket: str | None) -> Statistics:
        images_, contents_ = (
            await self._figures(FigureKind.IMAGES, bucket),
            await self._figures(FigureKind.CONTENTS, bucket),
        )
        oldest = select(contents.c.dirty_since).where(contents.c.dirty_since.is_not(None), *self._in_bucket(bucket))
        waiting = await self._rows(oldest.order_by(contents.c.dirty_since).limit(1))
        return Statistics(
            objects=sum(each.number for each in images_.values()),
            pending=images_[ImageState.PENDING].number,
            indexed=images_[ImageState.INDEXED].number,
            rejected=images_[ImageState.REJECTED].number,
            bytes=sum(each.bytes for each in images_.values()),
            contents=contents_[""].number,
            oldest_pending=waiting[0].dirty_since if waiting else None,
        )

    async def indexed_per_minute(self, since: datetime, bucket: str | None) -> dict[datetime, int]:
        kept = await self._figures(FigureKind.INDEXED, bucket, since=minute_label(since))
        return {minute_of(label): figure.number for label, figure in kept.items()}

    async def rejections(self, bucket: str | None) -> dict[str, int]:
        kept = await self._figures(FigureKind.REJECTED, bucket)
        counted = {slug: figure.number for slug, figure in kept.items() if figure.number}
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    async def _figures(self, kind: FigureKind, bucket: str | None, *, since: str = "") -> Mapping[str, _Figure]:
        """Kept figures by label, 0 for those that there are none of."""
        narrowed = self._narrowed(ImageFilter(bucket=bucket))
        among = narrowed.among if narrowed.bucket is None or narrowed.among is not None else [narrowed.bucket]
        query, buckets = (FIGURES, {}) if among is None else (FIGURES_IN_BUCKETS, {"buckets": among})
        rows = await self._rows(query, {"kind": kind, "since": since, **buckets})
        return defaultdict(
            _Figure, {label: _Figure(int(number), int(size)) for label, number, size in map(tuple, rows)}
        )

    async def same_bytes(self, bucket: str | None, *, after: ContentId | None, limit: int) -> list[SameBytes]:
        by_name = (contents.c.bucket, contents.c.sha256)
        query = select(*by_name, contents.c.objects).where(contents.c.shared == 1, *self._in_bucket(bucket))
        if after is not None:
            query = query.where(_beyond(by_name, after))
        query = by_index("ix_contents_shared", query, contents).order_by(*by_name).limit(limit)
        return [SameBytes(ContentId(row.bucket, row.sha256), row.objects) for row in await self._rows(query)]

    async def of_contents(self, content_ids: Sequence[ContentId]) -> dict[ContentId, FoundContent]:
        ours = [content_id for content_id in content_ids if self._has(content_id.bucket)]
        if not ours:
            return {}
        return {each.content.id: each for each in await self._found(await self._rows(rows_among(ours)), ImageFilter())}

    async def contents_after(self, vector_id: int, *, bucket: str | None, limit: int) -> list[ContentRecord]:
        query = (
            select(*CONTENT_COLUMNS)
            .where(contents.c.vector_id > vector_id, contents.c.state == str(ContentState.INDEXED))
            .where(*self._in_bucket(bucket))
            .order_by(contents.c.vector_id)
            .limit(limit)
        )
        return [listed_content(row) for row in await self._rows(query)]

    async def patrol_rounds(self, buckets: Collection[str]) -> list[PatrolRound]:
        names = [last_round_name(bucket) for bucket in buckets]
        rows = await self._rows(select(progress.c.position).where(progress.c.name.in_(names)).order_by(progress.c.name))
        return [PatrolRound.model_validate(row.position) for row in rows]

    async def switch(self) -> ModelSwitch:
        rows = await self._rows(SELECT_SWITCH)
        return switch_record(rows[0]) if rows else ModelSwitch()

    async def check(self) -> None:
        await self._rows(select(images.c.id).limit(1))
        await self._rows(select(contents.c.sha256).limit(1))

    async def close(self) -> None:
        await self._engine.dispose()

    def _has(self, bucket: str) -> bool:
        return self._buckets is None or bucket in self._buckets

    def _narrowed(self, where: ImageFilter) -> ImageFilter:
        """The filter within the buckets of this reader."""
        if where.bucket is None:
            return replace(where, among=self._buckets)
        return where if self._has(where.bucket) else replace(where, among=())

    def _matches(self, where: ImageFilter) -> list[ColumnElement[bool]]:
        return matches(self._narrowed(where))

    def _in_bucket(self, bucket: str | None) -> list[ColumnElement[bool]]:
        """The same for contents."""
        if bucket is not None and self._has(bucket):
            return [contents.c.bucket == bucket]
        among = () if bucket is not None else self._buckets
        return [] if among is None else [contents.c.bucket.in_(among)]


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
