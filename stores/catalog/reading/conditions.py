"""From an ImageFilter to SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Join, LargeBinary, and_, cast, func, literal, or_

from schemas.records import ContentState
from schemas.tables import contents, images
from stores.catalog.reading.ports import ImageFilter

SEARCHABLE = (str(ContentState.PENDING), str(ContentState.INDEXED))
_TYPE_PREFIX = "image/"

_refers = and_(images.c.bucket == contents.c.bucket, images.c.content_sha256 == contents.c.sha256)


def with_content() -> Join:
    """Images with their content, where they have one."""
    return images.outerjoin(contents, _refers)


def of_content() -> Join:
    """Images that have a content, with it."""
    return images.join(contents, _refers)


EXISTS: ColumnElement[bool] = images.c.etag.is_not(None)


def matches(where: ImageFilter) -> list[ColumnElement[bool]]:
    """The conditions on a row of :func:`with_content`, existence included."""
    return [EXISTS, *_equal(where), *_ranges(where), *_derived(where)]


def _equal(where: ImageFilter) -> Iterator[ColumnElement[bool]]:
    pairs: tuple[tuple[Any, str | None], ...] = (
        (images.c.bucket, where.bucket),
        (images.c.object_key, where.key),
        (contents.c.sha256, where.sha256),
        (images.c.content_sha256, where.sha256),
        (contents.c.md5, where.md5),
    )
    return (column == value for column, value in pairs if value is not None)


def _ranges(where: ImageFilter) -> Iterator[ColumnElement[bool]]:
    if where.among is not None:
        yield images.c.bucket.in_(where.among)
    if where.external_id is not None:
        yield _is_exactly(images.c.external_id, where.external_id)
    if where.created_from is not None:
        yield images.c.created_at >= where.created_from
    if where.created_to is not None:
        yield images.c.created_at < where.created_to
    if where.size_min is not None:
        yield images.c.size >= where.size_min
    if where.size_max is not None:
        yield images.c.size <= where.size_max
    if where.prefix:
        yield starts_with(where.prefix)


def _is_exactly(column: ColumnElement[Any], value: str) -> ColumnElement[bool]:
    """MySQL's utf8mb4_bin takes 'a' and 'a ' for the same; their lengths in bytes tell them apart."""
    return and_(column == value, func.length(cast(column, LargeBinary)) == len(value.encode()))


def starts_with(prefix: str) -> ColumnElement[bool]:
    """Keys that begin so: a range of bytes, which an index serves; ``prefix`` is not empty.

    UTF-8 has no byte 255, so the last byte can always be raised.
    """
    first = prefix.encode()
    beyond = first[:-1] + bytes([first[-1] + 1])
    return and_(images.c.object_key >= literal(first, LargeBinary), images.c.object_key < literal(beyond, LargeBinary))


def _derived(where: ImageFilter) -> Iterator[ColumnElement[bool]]:
    if where.content_type is not None:
        yield _has_type(where.content_type)
    if where.state is not None:
        yield images.c.state == str(where.state)


def has_format(content_type: str) -> ColumnElement[bool]:
    """What the bytes were found to be."""
    return contents.c.format == content_type.removeprefix(_TYPE_PREFIX)


def _has_type(content_type: str) -> ColumnElement[bool]:
    """What the bytes were found to be counts; before that, what the uploader said."""
    declared = and_(contents.c.format.is_(None), images.c.content_type == content_type)
    if not content_type.startswith(_TYPE_PREFIX):
        return declared
    return or_(has_format(content_type), declared)
