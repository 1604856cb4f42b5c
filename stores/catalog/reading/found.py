"""From vector ids, digests and names to contents with their images: nearly always in one statement.

Building a statement costs more than running it, so the one for a filter is kept; what is looked for goes in as
parameters. Contents of up to KEYS_PER_CONTENT objects, which nearly all are, come with all their images. Of a popular
one the row alone comes, and the first of its images are read by a statement of their own, so that 100,000 of them cost
what 100 do.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Row,
    Select,
    and_,
    bindparam,
    case,
    func,
    select,
    tuple_,
    union_all,
)

from schemas.records import ContentId, ContentRecord
from schemas.tables import contents, images
from stores.catalog.reading.conditions import SEARCHABLE, matches, of_content
from stores.catalog.reading.ports import KEYS_COUNTED, KEYS_PER_CONTENT, CatalogImage, FoundContent, ImageFilter
from stores.catalog.reading.rows import IMAGE_COLUMNS, JOINED_COLUMNS, joined_record, listed_content
from stores.catalog.statements import by_index

_Parameter = BindParameter[Any]
_VECTOR_IDS: Final[_Parameter] = bindparam("vector_ids", expanding=True)
_KNOWN_IDS: Final[_Parameter] = bindparam("known_ids", expanding=True)
"""The same ids: SQLAlchemy writes an empty list for IN and for NOT IN alike where both name one parameter."""
_DIGESTS: Final[_Parameter] = bindparam("digests", expanding=True)
_IS_POPULAR: Final = contents.c.objects > KEYS_PER_CONTENT
_FOUND_COLUMNS: Final = (
    *JOINED_COLUMNS,
    *(contents.c[name].label(f"content__{name}") for name in ("bucket", "sha256", "objects")),
)
_OF_ONE: Final = (images.c.bucket == bindparam("bucket"), images.c.content_sha256 == bindparam("sha256"))


def parameters(vector_ids: Collection[int], digests: Collection[str]) -> dict[str, Any]:
    """What :func:`rows_found` looks for."""
    ids = sorted(vector_ids)
    return {"vector_ids": ids, "known_ids": ids, "digests": sorted(digests)}


@lru_cache(maxsize=64)
def rows_found(where: ImageFilter) -> CompoundSelect[Any]:
    """The statement for the searchable contents that are looked for: a row for each image, or for a popular one.

    Two index look-ups; MySQL may scan the table for an OR over two columns. No row comes twice.
    """
    vector_id, sha256 = contents.c.vector_id, contents.c.sha256
    return union_all(
        _searchable(where, vector_id.in_(_VECTOR_IDS)),
        _searchable(where, sha256.in_(_DIGESTS), vector_id.not_in(_KNOWN_IDS)),
    )


def rows_among(content_ids: Sequence[ContentId]) -> Select[Any]:
    """The same for these contents, by their names."""
    pairs = tuple_(contents.c.bucket, contents.c.sha256)
    return _searchable(ImageFilter(), pairs.in_([tuple(each) for each in content_ids]))


def _searchable(where: ImageFilter, *conditions: ColumnElement[bool]) -> Select[Any]:
    # A popular one is joined with NULL: were that a condition of its own, MySQL would read all its images first.
    few = and_(images.c.bucket == contents.c.bucket, images.c.content_sha256 == case((~_IS_POPULAR, contents.c.sha256)))
    query = select(*_FOUND_COLUMNS).select_from(contents.outerjoin(images, and_(few, *matches(where))))
    query = query.where(*conditions, contents.c.state.in_(SEARCHABLE))
    return query.where(_IS_POPULAR | images.c.id.is_not(None))


class Popular(NamedTuple):
    """A content of more than KEYS_PER_CONTENT objects, and how many they are."""

    content: ContentRecord
    objects: int


def grouped(rows: Sequence[Row[Any]]) -> tuple[list[FoundContent], list[Popular]]:
    """The contents in the rows of such a statement: those of few objects, whole, and the popular ones."""
    few: dict[int, list[CatalogImage]] = {}
    popular = []
    for row in rows:
        if row.id is None:
            *values, bucket, sha256, objects = row[IMAGE_COLUMNS:]
            popular.append(Popular(listed_content((bucket, sha256, *values)), objects))
            continue
        record = joined_record(row)
        assert record.content is not None, "the row has both sides"
        few.setdefault(record.content.vector_id, []).append(record)
    return [found_content(own, len(own)) for own in few.values()], popular


def found_content(joined: Sequence[CatalogImage], total: int) -> FoundContent:
    """The content that some images share."""
    own = sorted(joined, key=lambda each: each.image.seq)
    content = own[0].content
    assert content is not None, "each image has one"
    return FoundContent(content, tuple(each.image for each in own[:KEYS_PER_CONTENT]), total)


@lru_cache(maxsize=64)
def oldest_of_one(where: ImageFilter) -> Select[Any]:
    """The statement for the oldest images of a content that match; takes its ``bucket`` and ``sha256``."""
    query = by_index("ix_images_content", select(*JOINED_COLUMNS).select_from(of_content()), images)
    return query.where(*_OF_ONE, *matches(where)).order_by(images.c.seq).limit(KEYS_PER_CONTENT)


@lru_cache(maxsize=64)
def count_of_one(where: ImageFilter) -> Select[Any]:
    """The statement for how many images of a content match, up to KEYS_COUNTED."""
    query = by_index("ix_images_content", select(images.c.seq).select_from(of_content()), images)
    some = query.where(*_OF_ONE, *matches(where)).limit(KEYS_COUNTED).subquery()
    return select(func.count()).select_from(some)
