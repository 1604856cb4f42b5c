"""From vector ids and digests to contents with their images, in one statement: each search runs it once.

Building a statement costs more than running it, so the one for a filter is kept; what is looked for goes in as
parameters. To number the images of each content in SQL would be most of the query's work, and nearly every content has
few: they are all fetched up to a limit, and numbered only where that is reached.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Row,
    Select,
    bindparam,
    func,
    select,
    tuple_,
    union_all,
)

from schemas.records import ContentId
from schemas.tables import contents
from stores.catalog.reading.conditions import SEARCHABLE, matches, of_content
from stores.catalog.reading.ports import KEYS_PER_CONTENT, CatalogImage, FoundContent, ImageFilter
from stores.catalog.reading.rows import JOINED_COLUMNS, joined_record

_ROWS_PER_KEY: Final = 8
_Parameter = BindParameter[Any]
_VECTOR_IDS: Final[_Parameter] = bindparam("vector_ids", expanding=True)
_KNOWN_IDS: Final[_Parameter] = bindparam("known_ids", expanding=True)
"""The same ids: SQLAlchemy writes an empty list for IN and for NOT IN alike where both name one parameter."""
_DIGESTS: Final[_Parameter] = bindparam("digests", expanding=True)
_MOST: Final[_Parameter] = bindparam("most")


def parameters(vector_ids: Collection[int], digests: Collection[str]) -> dict[str, Any]:
    """What the statements look for. ``most`` rows leave room for some objects with the same bytes under each key."""
    ids = sorted(vector_ids)
    most = KEYS_PER_CONTENT + _ROWS_PER_KEY * (len(ids) + len(digests))
    return {"vector_ids": ids, "known_ids": ids, "digests": sorted(digests), "most": most}


@lru_cache(maxsize=64)
def rows_found(where: ImageFilter) -> CompoundSelect[Any]:
    """The statement for all images of the searchable contents that are looked for, or ``most`` of them."""
    return _found(where).limit(_MOST)


@lru_cache(maxsize=64)
def numbered_found(where: ImageFilter) -> Select[Any]:
    """The statement for the oldest images of each of these contents, and how many there are."""
    return _numbered(_found(where))


def numbered_among(content_ids: Sequence[ContentId]) -> Select[Any]:
    """The same for these contents, by their names."""
    pairs = tuple_(contents.c.bucket, contents.c.sha256)
    return _numbered(_searchable(ImageFilter(), pairs.in_([tuple(each) for each in content_ids])))


def _found(where: ImageFilter) -> CompoundSelect[Any]:
    """Two index look-ups; MySQL may scan the table for an OR over two columns. No row comes twice."""
    vector_id, sha256 = contents.c.vector_id, contents.c.sha256
    return union_all(
        _searchable(where, vector_id.in_(_VECTOR_IDS)),
        _searchable(where, sha256.in_(_DIGESTS), vector_id.not_in(_KNOWN_IDS)),
    )


def _searchable(where: ImageFilter, *conditions: ColumnElement[bool]) -> Select[Any]:
    query = select(*JOINED_COLUMNS).select_from(of_content())
    return query.where(*conditions, contents.c.state.in_(SEARCHABLE), *matches(where))


def _numbered(query: Select[Any] | CompoundSelect[Any]) -> Select[Any]:
    rows = query.subquery()
    per_content = rows.c.content__vector_id
    numbered = select(
        rows,
        func.row_number().over(partition_by=per_content, order_by=rows.c.seq).label("place"),
        func.count().over(partition_by=per_content).label("total"),
    ).subquery()
    return select(numbered).where(numbered.c.place <= KEYS_PER_CONTENT)


def grouped(rows: Sequence[Row[Any]], *, numbered: bool) -> list[FoundContent]:
    """The contents in the rows of such a statement, the one with the oldest image first."""
    by_vector: dict[int, list[CatalogImage]] = {}
    totals: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: row.seq):
        record = joined_record(row)
        assert record.content is not None, "an inner join has both sides"
        by_vector.setdefault(record.content.vector_id, []).append(record)
        if numbered:
            totals[record.content.vector_id] = int(row.total)
    return [_found_content(own, totals.get(vector_id)) for vector_id, own in by_vector.items()]


def _found_content(own: Sequence[CatalogImage], total: int | None) -> FoundContent:
    content = own[0].content
    assert content is not None, "an inner join has both sides"
    images = tuple(each.image for each in own[:KEYS_PER_CONTENT])
    return FoundContent(content, images, len(own) if total is None else total)
