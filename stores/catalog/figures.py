"""Figures that are kept rather than counted: images by state, rejections by reason, contents, indexed per minute.

Each transaction adds what it changed to ``count_changes``, in rows of its own: no transaction waits for another one's,
and a figure is exact with each commit. A worker adds those rows up into ``counts`` now and then (:func:`fold`); whoever
reads takes both. :func:`recount` counts everything anew.

How many objects a content has is a column of its own row, which whoever adds or takes one has locked anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import batched
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Insert,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import mysql, sqlite

from schemas.lifecycle import listed_state
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ImageState
from schemas.tables import contents, count_changes, counts, images

LABEL_MAX: Final = 64
MINUTES_KEPT: Final = timedelta(days=2)
"""How long it is known how many contents were indexed in a minute; the status page shows one day."""


class FigureKind(StrEnum):
    """What is counted. The label says of which kind: a state, a reason's slug, a minute."""

    IMAGES = "images"
    REJECTED = "rejected"
    CONTENTS = "contents"
    INDEXED = "indexed"


class Figure(NamedTuple):
    """What a number is of."""

    kind: FigureKind
    bucket: str
    label: str = ""


class Tally:
    """What one transaction changes of the figures."""

    def __init__(self) -> None:
        self._numbers: Counter[Figure] = Counter()
        self._bytes: Counter[Figure] = Counter()
        self._objects: Counter[ContentId] = Counter()

    def image(self, before: ImageRecord | None, after: ImageRecord | None) -> None:
        """A row changes; None where there is none."""
        for image, sign in ((before, -1), (after, 1)):
            if image is None or not image.exists:
                continue
            state, slug = listed_state(image)
            figures = [Figure(FigureKind.IMAGES, image.bucket, state)]
            if state is ImageState.REJECTED:
                figures.append(Figure(FigureKind.REJECTED, image.bucket, (slug or "unknown")[:LABEL_MAX]))
            for figure in figures:
                self._numbers[figure] += sign
                self._bytes[figure] += sign * image.size
            if image.content_id is not None:
                self._objects[image.content_id] += sign

    def content(self, before: ContentRecord | None, after: ContentRecord | None) -> None:
        """Likewise. A row of version 0 was inserted by this transaction, to have one to lock."""
        for content, sign in ((before, -1), (after, 1)):
            if content is not None and content.version > 0 and content.state is not ContentState.DELETING:
                self._numbers[Figure(FigureKind.CONTENTS, content.bucket)] += sign
        was_indexed = before is not None and before.state is ContentState.INDEXED
        if after is not None and after.state is ContentState.INDEXED and after.indexed_at and not was_indexed:
            self._numbers[Figure(FigureKind.INDEXED, after.bucket, minute_label(after.indexed_at))] += 1

    def rows(self) -> list[dict[str, Any]]:
        """Rows of ``count_changes``; none where all is as it was."""
        changed = sorted(figure for figure in self._numbers if self._numbers[figure] or self._bytes[figure])
        return [_row(figure, self._numbers[figure], self._bytes[figure]) for figure in changed]

    def take_gain(self, content_id: ContentId) -> int:
        """How many objects the content gains, or loses, by what was noted so far: the caller writes it down."""
        return self._objects.pop(content_id, 0)

    def gains(self) -> dict[ContentId, int]:
        """How many objects contents gain, or lose, in order, but for what was taken."""
        return {content_id: gain for content_id, gain in sorted(self._objects.items()) if gain}


def _row(figure: Figure, number: int, size: int) -> dict[str, Any]:
    return {**figure._asdict(), "number": number, "bytes": size}


def minute_label(moment: datetime) -> str:
    """The minute of a moment in UTC; labels sort as the minutes do."""
    return moment.strftime("%Y-%m-%dT%H:%M")


def minute_of(label: str) -> datetime:
    """The moment at which the minute begins."""
    return datetime.fromisoformat(label).replace(tzinfo=UTC)


_KIND: BindParameter[Any] = bindparam("kind")
_SINCE: BindParameter[Any] = bindparam("since")
_BUCKETS: BindParameter[Any] = bindparam("buckets", expanding=True)


def _figures(*, in_buckets: bool) -> Select[Any]:
    parts = []
    for table in (counts, count_changes):
        part = select(table.c.label, table.c.number, table.c.bytes)
        part = part.where(table.c.kind == _KIND, table.c.label >= _SINCE)
        parts.append(part.where(table.c.bucket.in_(_BUCKETS)) if in_buckets else part)
    both = union_all(*parts).subquery()
    return select(both.c.label, func.sum(both.c.number), func.sum(both.c.bytes)).group_by(both.c.label)


FIGURES: Final = _figures(in_buckets=False)
"""Number and bytes by label, of a ``kind`` and labels from ``since`` on."""
FIGURES_IN_BUCKETS: Final = _figures(in_buckets=True)
"""The same of some ``buckets``."""

FOLDED_AT_ONCE: Final = 10_000
_AT_ONCE: Final = 1000
_CHANGES: Final = select(count_changes).order_by(count_changes.c.seq).limit(FOLDED_AT_ONCE)
_SEEN: Final = select(count_changes.c.seq)
_TURN: Final = {"kind": "", "bucket": "", "label": "", "number": 0, "bytes": 0}
"""The row that whoever folds or recounts holds: to insert it, or to find it there, is to lock it."""


class Writing(Protocol):
    """What is needed of a transaction."""

    async def insert_missing(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows where there are none with the same identity, and lock them."""

    async def rows(self, query: Executable, parameters: Any = None) -> Sequence[Row[*tuple[Any, ...]]]:
        """The rows of a query."""

    async def write(self, statement: Executable, parameters: Any = None) -> None:
        """Run a statement, once for each of the parameters."""


async def fold(tx: Writing, now: datetime, *, on_sqlite: bool) -> int:
    """Add the oldest changes up, at most FOLDED_AT_ONCE, and forget minutes long past; how many were added."""
    await tx.insert_missing(counts, [_TURN])
    changes = await tx.rows(_CHANGES)
    numbers: Counter[Figure] = Counter()
    sizes: Counter[Figure] = Counter()
    for _, kind, bucket, label, number, size in changes:
        numbers[Figure(kind, bucket, label)] += number
        sizes[Figure(kind, bucket, label)] += size
    if changes:
        await tx.write(_add(on_sqlite=on_sqlite), [_row(figure, numbers[figure], sizes[figure]) for figure in numbers])
        await _forget(tx, [change[0] for change in changes])
    old = minute_label(now - MINUTES_KEPT)
    await tx.write(delete(counts).where(counts.c.kind == FigureKind.INDEXED, counts.c.label < old))
    return len(changes)


async def recount(tx: Writing, *, on_sqlite: bool) -> None:
    """Count images and contents anew. Reads both tables from end to end, all as of one moment.

    ``tx`` has to be REPEATABLE READ, so that what is changed meanwhile is neither counted here nor forgotten. How many
    were indexed in a minute can't be counted afterwards, and stays.
    """
    await tx.insert_missing(counts, [_TURN])
    rows = [
        _row(Figure(kind, bucket, label[:LABEL_MAX]), int(number), int(size))
        for kind, query in _COUNTED.items()
        for bucket, label, number, size in await tx.rows(query)
    ]
    seen = [seq for (seq,) in await tx.rows(_SEEN)]
    await tx.write(delete(counts).where(counts.c.kind.in_(list(_COUNTED))))
    if rows:
        await tx.write(_add(on_sqlite=on_sqlite), rows)
    await _forget(tx, seen)


async def _forget(tx: Writing, changes: Sequence[int]) -> None:
    for some in batched(changes, _AT_ONCE):
        await tx.write(delete(count_changes).where(count_changes.c.seq.in_(some)))


@lru_cache
def _add(*, on_sqlite: bool) -> Insert:
    """Add to figures, which begin at 0."""
    if on_sqlite:
        adding = sqlite.insert(counts)
        return adding.on_conflict_do_update(
            set_={name: counts.c[name] + adding.excluded[name] for name in ("number", "bytes")}
        )
    inserting = mysql.insert(counts)
    return inserting.on_duplicate_key_update(
        {name: counts.c[name] + inserting.inserted[name] for name in ("number", "bytes")}
    )


_PUBLISHED_REASON: Final = func.substr(images.c.published_state, len(f"{ImageState.REJECTED}:") + 64 + 2)
"""What follows the digest and a colon in ``lifecycle.published_state``."""
_REASON: Final = func.coalesce(images.c.reason, _PUBLISHED_REASON)
_SLUG: Final = func.substr(_REASON, 1, func.instr(_REASON + ":", ":") - 1)


def _images(label: ColumnElement[Any], condition: ColumnElement[bool]) -> Select[Any]:
    query = select(images.c.bucket, label.label("label"), func.count(), func.sum(images.c.size)).where(condition)
    return query.group_by(images.c.bucket, label)


_COUNTED: Final[Mapping[FigureKind, Select[Any]]] = {
    FigureKind.IMAGES: _images(images.c.state, images.c.etag.is_not(None)),
    FigureKind.REJECTED: _images(_SLUG, images.c.state == str(ImageState.REJECTED)),
    FigureKind.CONTENTS: select(contents.c.bucket, literal(""), func.count(), literal(0))
    .where(contents.c.state != str(ContentState.DELETING), contents.c.version > 0)
    .group_by(contents.c.bucket),
}
"""Bucket, label, number and bytes."""

_OBJECTS: Final = (
    select(func.count())
    .where(images.c.bucket == contents.c.bucket, images.c.content_sha256 == contents.c.sha256)
    .where(images.c.etag.is_not(None))
    .scalar_subquery()
)
_OF_BUCKET: BindParameter[Any] = bindparam("of_bucket")
_OF_SHA256: BindParameter[Any] = bindparam("of_sha256")
MISCOUNTED: Final = (
    select(contents.c.bucket, contents.c.sha256, contents.c.objects != _OBJECTS)
    .where(or_(contents.c.bucket > _OF_BUCKET, and_(contents.c.bucket == _OF_BUCKET, contents.c.sha256 > _OF_SHA256)))
    .order_by(contents.c.bucket, contents.c.sha256)
    .limit(_AT_ONCE)
)
"""A page of contents after one, and whether its number of objects is wrong."""
COUNT_OBJECTS: Final = (
    update(contents).where(contents.c.bucket == _OF_BUCKET, contents.c.sha256 == _OF_SHA256).values(objects=_OBJECTS)
)
"""Count the objects of a content anew, while it is locked."""
