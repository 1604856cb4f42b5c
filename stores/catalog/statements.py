"""The statements of the SQL catalog, each for a whole batch. Built once, as building takes longer than running them.

Locking statements name their index: on a small table MySQL would scan it, and wait for rows that it does not want.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Dialect,
    Insert,
    Select,
    Table,
    and_,
    bindparam,
    or_,
    select,
)
from sqlalchemy.dialects import mysql, sqlite

from schemas.lifecycle import published_as
from schemas.records import ContentId, ContentState
from schemas.tables import contents, counts, images, model_switch, progress, requests

_NOT_SAVED: Final = {
    images: ("id", "seq", "bucket", "object_key"),
    contents: ("sha256", "bucket", "objects", "shared"),
    requests: ("request_id",),
    progress: ("name",),
    counts: ("kind", "bucket", "label"),
    model_switch: ("id",),
}
"""The columns that tell rows apart, which are never written again, and what is counted."""
_COUNTED: Final = {contents: ("objects",)}
"""Columns that are added to, also where all others are overwritten."""

type TextAndParameters = tuple[str, tuple[Any, ...]]
"""A statement in the driver's words, since it is another for each number of rows: not worth compiling and keeping."""

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)


@lru_cache
def insert_missing(table: Table, *, on_sqlite: bool) -> Insert:
    """An INSERT that does nothing where the row is there already; it waits for who is inserting it.

    MySQL's ``ON DUPLICATE KEY UPDATE`` of a key column with itself, unlike INSERT IGNORE, hides no other error.
    """
    if on_sqlite:
        return sqlite.insert(table).on_conflict_do_nothing()
    column = _NOT_SAVED[table][0]
    return mysql.insert(table).on_duplicate_key_update({column: table.c[column]})


@lru_cache
def save(table: Table, *, on_sqlite: bool) -> Insert:
    """Overwrite rows, all columns given; what is counted is added to. Run with a list of rows it is one statement.

    An INSERT, though the rows are there: the driver joins many of those into one statement, and runs many UPDATEs one
    by one.
    """
    if on_sqlite:
        upsert = sqlite.insert(table)
        return upsert.on_conflict_do_update(set_=_merged(table, upsert.excluded))
    replacing = mysql.insert(table)
    return replacing.on_duplicate_key_update(_merged(table, replacing.inserted))


def _merged(table: Table, given: Any) -> dict[str, Any]:
    added = {name: table.c[name] + given[name] for name in _COUNTED.get(table, ())}
    return {name: given[name] for name in _saved(table)} | added


def _saved(table: Table) -> list[str]:
    return [column.name for column in table.c if column.name not in _NOT_SAVED[table]]


def update_images(rows: Sequence[Mapping[str, Any]], dialect: Dialect) -> TextAndParameters:
    """Overwrite images on MySQL.

    :func:`save` would do, but for MySQL 9.7, which locks the content that an INSERT refers to, even where the row is
    there and its reference stays: publishing an image would wait for the index worker, and that in the end for it.
    """
    columns = ["seq", *_saved(images)]
    processors = [(name, _bind_processor(images.c[name], dialect)) for name in columns]
    assignments = ", ".join(f"images.{name} = named.{name}" for name in columns[1:])
    join = f"{_named(columns, len(rows))} STRAIGHT_JOIN images FORCE INDEX (PRIMARY) ON images.seq = named.seq"
    parameters = tuple(process(row[name]) for row in rows for name, process in processors)
    return f"UPDATE {join} SET {assignments}", parameters  # noqa: S608, as below: only names of ours are put in


def _named(columns: Sequence[str], number: int) -> str:
    """A table of parameters, to be joined with the real one: MySQL then visits each row by the index, and no other.

    For an IN list it may scan the table, whatever index is named, in a DELETE and, on a small table, in an UPDATE.
    """
    first = "SELECT " + ", ".join(f"%s AS {name}" for name in columns)
    others = "SELECT " + ", ".join(["%s"] * len(columns))
    return "(" + " UNION ALL ".join([first, *[others] * (number - 1)]) + ") AS named"


@lru_cache(maxsize=128)
def _bind_processor(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any]:
    """What SQLAlchemy makes of a value before the driver gets it."""
    return column.type.dialect_impl(dialect).bind_processor(dialect) or _as_it_is


def _as_it_is(value: Any) -> Any:
    return value


def by_index(index: str, query: Select[Any], table: Table) -> Select[Any]:
    """The query, which MySQL has to answer by this index."""
    for dialect in ("mysql", "mariadb"):
        query = query.with_hint(table, f"FORCE INDEX ({index})", dialect)
    return query


SELECT_IMAGES: Final = select(images).where(images.c.id.in_(_IDS))
LOCK_IMAGES: Final = by_index("uq_images_id", SELECT_IMAGES, images).order_by(images.c.id).with_for_update()
"""These take ``ids``."""


def delete_images(image_ids: Collection[str], *, on_sqlite: bool) -> TextAndParameters:
    """Delete these images."""
    if on_sqlite:
        return f"DELETE FROM images WHERE id IN ({', '.join('?' * len(image_ids))})", tuple(image_ids)  # noqa: S608
    join = "STRAIGHT_JOIN images FORCE INDEX (uq_images_id) ON images.id = named.id"
    return f"DELETE images FROM {_named(['id'], len(image_ids))} {join}", tuple(image_ids)


def delete_contents(content_ids: Collection[ContentId], *, on_sqlite: bool) -> TextAndParameters:
    """Delete these contents."""
    parameters = tuple(chain.from_iterable(content_ids))
    if on_sqlite:
        pairs = ", ".join(["(?, ?)"] * len(content_ids))
        return f"DELETE FROM contents WHERE (bucket, sha256) IN (VALUES {pairs})", parameters  # noqa: S608
    join = (
        "STRAIGHT_JOIN contents FORCE INDEX (PRIMARY)"
        " ON contents.bucket = named.bucket AND contents.sha256 = named.sha256"
    )
    return f"DELETE contents FROM {_named(['bucket', 'sha256'], len(content_ids))} {join}", parameters


def count_objects(gains: Mapping[ContentId, int], *, on_sqlite: bool) -> TextAndParameters:
    """Add to the number of objects of these contents."""
    rows = tuple(chain.from_iterable((*content_id, gain) for content_id, gain in gains.items()))
    if on_sqlite:
        named = ", ".join(["(?, ?, ?)"] * len(gains))
        gained = f"FROM (VALUES {named}) AS named WHERE (bucket, sha256) = (named.column1, named.column2)"
        return f"UPDATE contents SET objects = objects + named.column3 {gained}", rows  # noqa: S608
    join = (
        "STRAIGHT_JOIN contents FORCE INDEX (PRIMARY)"
        " ON contents.bucket = named.bucket AND contents.sha256 = named.sha256"
    )
    named = _named(["bucket", "sha256", "gain"], len(gains))
    return f"UPDATE {named} {join} SET contents.objects = contents.objects + named.gain", rows  # noqa: S608


def insert_if_switch_is(version: int, rows: Sequence[Mapping[str, Any]], *, on_sqlite: bool) -> TextAndParameters:
    """Insert changes of figures, none where the switch of models has another version; a shared lock is held on it."""
    columns = list(rows[0])
    parameters = (*chain.from_iterable([row[name] for name in columns] for row in rows), version)
    names, there = ", ".join(columns), "FROM {named} CROSS JOIN model_switch WHERE model_switch.version = "
    if on_sqlite:
        values = ", ".join([f"({', '.join('?' * len(columns))})"] * len(rows))
        chosen = ", ".join(f"named.column{place}" for place, _ in enumerate(columns, 1))
        source = there.format(named=f"(VALUES {values}) AS named")
        return f"INSERT INTO count_changes ({names}) SELECT {chosen} {source}?", parameters
    chosen = ", ".join(f"named.{name}" for name in columns)
    source = there.format(named=_named(columns, len(rows)))
    insertion = f"INSERT INTO count_changes ({names}) SELECT {chosen} {source}%s LOCK IN SHARE MODE"
    return insertion, parameters


@lru_cache(maxsize=64)
def select_contents(buckets: int) -> Select[Any]:
    """The contents that :func:`in_buckets` names."""
    return select(contents).where(or_(*[_in_bucket(number) for number in range(buckets)]))


@lru_cache(maxsize=64)
def select_contents_for_update(buckets: int) -> Select[Any]:
    """The same, locked in order."""
    ordered = by_index("PRIMARY", select_contents(buckets), contents).order_by(contents.c.bucket, contents.c.sha256)
    return ordered.with_for_update()


def _in_bucket(number: int) -> ColumnElement[bool]:
    digests: BindParameter[Any] = bindparam(f"digests{number}", expanding=True)
    return and_(contents.c.bucket == bindparam(f"bucket{number}"), contents.c.sha256.in_(digests))


def in_buckets(content_ids: Collection[ContentId]) -> tuple[int, dict[str, Any]]:
    """In how many buckets these contents are, and the parameters that name them."""
    digests: dict[str, list[str]] = {}
    for bucket, sha256 in sorted(content_ids):
        digests.setdefault(bucket, []).append(sha256)
    parameters: dict[str, Any] = {}
    for number, (bucket, own) in enumerate(digests.items()):
        parameters |= {f"bucket{number}": bucket, f"digests{number}": own}
    return len(digests), parameters


SELECT_SWITCH: Final = select(model_switch)
LOCK_SWITCH: Final = SELECT_SWITCH.with_for_update()
SWITCH_VERSION: Final = select(model_switch.c.version).with_for_update(read=True)
"""Under a lock that is shared: it waits for who changes the row, and whoever wants to change it waits for it."""

CONTENTS_BY_VECTOR: Final = select(contents).where(contents.c.vector_id.in_(_IDS))
_OLDEST_KEY = (
    select(images.c.object_key)
    .where(images.c.bucket == contents.c.bucket, images.c.content_sha256 == contents.c.sha256)
    .order_by(images.c.seq)
    .limit(1)
    .correlate(contents)
    .scalar_subquery()
)
CARRIERS: Final = select(contents.c.vector_id, contents.c.bucket, contents.c.sha256, _OLDEST_KEY).where(
    contents.c.vector_id.in_(_IDS)
)
CARRIED_VECTORS: Final = select(contents.c.vector_id).where(
    contents.c.vector_id.in_(_IDS), contents.c.state.in_([str(ContentState.PENDING), str(ContentState.INDEXED)])
)
"""These take ``ids``."""

_OLDEST = (
    "SELECT bucket, content_sha256, seq, id, object_key FROM images{by_index}"
    " WHERE bucket = ? AND content_sha256 = ? ORDER BY seq LIMIT ?"
)
_UNPUBLISHED = (
    "SELECT bucket, content_sha256, id FROM images{by_index} WHERE bucket = ? AND content_sha256 = ?"
    " AND (published_state IS NULL OR published_state NOT IN (?, ?)) LIMIT ?"
)


def oldest_references(content_ids: Sequence[ContentId], limit: int, *, on_sqlite: bool) -> TextAndParameters:
    """The first images of each content: (bucket, SHA-256, seq, id, key's bytes)."""
    each = [(*content_id, limit) for content_id in content_ids]
    return _for_each(_OLDEST, "ix_images_content", each, on_sqlite)


def unpublished_references(
    published_states: Sequence[tuple[ContentId, str]], limit: int, *, on_sqlite: bool
) -> TextAndParameters:
    """Images of each content whose last snapshot told another state: (bucket, SHA-256, id)."""
    each = [(*content_id, *published_as(state), limit) for content_id, state in published_states]
    return _for_each(_UNPUBLISHED, "ix_images_published", each, on_sqlite)


def _for_each(query: str, index: str, each: Sequence[tuple[Any, ...]], on_sqlite: bool) -> TextAndParameters:
    """The query once for each of the parameters, all in one: each part reads no more rows than it returns.

    SQLite takes no parentheses, MySQL would copy a subquery's rows.
    """
    part = query.format(by_index="" if on_sqlite else f" FORCE INDEX ({index})")
    whole = " UNION ALL ".join([f"SELECT * FROM ({part})" if on_sqlite else f"({part})"] * len(each))  # noqa: S608
    return whole if on_sqlite else whole.replace("?", "%s"), tuple(chain.from_iterable(each))
