"""The query that turns vector ids or digests into contents with their images: each search runs it once or twice.

Building the statement costs more than running it, so the statement for a filter is kept; what is looked for goes in
as a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, bindparam, func, select, tuple_

from schemas.records import ContentId
from schemas.tables import contents, images
from stores.catalog.reading.conditions import SEARCHABLE, matches, of_content
from stores.catalog.reading.ports import KEYS_PER_CONTENT, FoundContent, ImageFilter
from stores.catalog.reading.rows import joined_columns, joined_content, joined_record

WANTED = "wanted"
"""The parameter that takes the vector ids or digests."""


@lru_cache(maxsize=64)
def found_by(column: Literal["vector_id", "sha256"], where: ImageFilter) -> Select[Any]:
    """The statement for searchable contents whose ``column`` is among ``WANTED``."""
    return _ranked(contents.c[column].in_(bindparam(WANTED, expanding=True)), where)


def found_among(content_ids: Sequence[ContentId]) -> Select[Any]:
    """The statement for these contents, with all their images."""
    pairs = tuple_(contents.c.bucket, contents.c.sha256)
    return _ranked(pairs.in_([tuple(each) for each in content_ids]), ImageFilter())


def _ranked(condition: ColumnElement[bool], where: ImageFilter) -> Select[Any]:
    """Contents under a condition with their oldest matching images, and how many match."""
    per_content = (images.c.bucket, images.c.content_sha256)
    ranked = (
        select(
            *joined_columns(),
            func.row_number().over(partition_by=per_content, order_by=images.c.seq).label("place"),
            func.count().over(partition_by=per_content).label("total"),
        )
        .select_from(of_content())
        .where(condition, contents.c.state.in_(SEARCHABLE), *matches(where))
        .subquery()
    )
    return select(ranked).where(ranked.c.place <= KEYS_PER_CONTENT).order_by(ranked.c.seq)


def grouped(rows: Sequence[Mapping[str, Any]]) -> list[FoundContent]:
    """The contents in the rows of such a statement, the one with the oldest image first."""
    by_vector: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_vector.setdefault(row["content__vector_id"], []).append(row)
    return [_found_content(own) for own in by_vector.values()]


def _found_content(rows: Sequence[Mapping[str, Any]]) -> FoundContent:
    content = joined_content(rows[0])
    assert content is not None, "an inner join has both sides"
    return FoundContent(content, tuple(joined_record(row).image for row in rows), int(rows[0]["total"]))
