"""The pictures of the service that Twinlens replaces: its rows in MySQL, and copies of its objects."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import quote

from sqlalchemy import column, func, select, table
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.errors import ObjectTooLarge, ObjectUnreadable, PreconditionFailed, RequestRefused
from schemas.records import EXTERNAL_ID, ObjectRef, ObjectState
from stores.catalog.engine import fetch_rows
from stores.objects.left_out import LeftOut
from stores.objects.ports import ObjectReader, ObjectWriter
from streams.common.backoff import OutageRetry
from streams.common.scope import scoped
from streams.requests.carry_out import checked_metadata

PAGE: Final = 500
"""Rows that are read at once."""
PREDECESSOR_ID: Final = "predecessor-id"
"""User metadata of an imported object: the row's integer id."""
PREDECESSOR_MD5: Final = "predecessor-md5"
"""User metadata of an imported object: the row's ``hash_code``."""


class PredecessorPicture(NamedTuple):
    """A row of ``image_meta``. Rows with the same ``hash_code`` share the object ``file_path``."""

    id: int
    meta_uuid: str
    hash_code: str
    """MD5 in hex."""
    file_name: str
    file_path: str

    def key(self, prefix: str) -> str:
        """The key of the picture's own object."""
        return f"{prefix}{self.meta_uuid}/{self.file_name}"

    @property
    def metadata(self) -> dict[str, str]:
        """The user metadata of the picture's own object, which tell it from any other. Raises RequestRefused."""
        return checked_metadata(
            {
                EXTERNAL_ID: quote(self.meta_uuid, safe=""),
                PREDECESSOR_ID: str(self.id),
                PREDECESSOR_MD5: quote(self.hash_code.lower(), safe=""),
            }
        )


_IMAGE_META: Final = table("image_meta", *(column(name) for name in PredecessorPicture._fields))


@dataclass(frozen=True, slots=True)
class Rows:
    """The predecessor's table, which is only read. Outages are waited out."""

    engine: AsyncEngine
    retry: OutageRetry

    async def count(self, *, after: int = 0) -> int:
        """How many rows have a greater id. Raises Outage, and SQLAlchemy's DBAPIError for a table of another shape."""
        query = select(func.count()).select_from(_IMAGE_META).where(_IMAGE_META.c.id > after)
        [[count]] = await self.retry.run(lambda: fetch_rows(self.engine, query))
        return int(count)

    async def pages(self, *, after: int = 0) -> AsyncGenerator[list[PredecessorPicture], None]:
        """The rows with a greater id in its order, a page at a time. Raises as :meth:`count`."""
        while page := await self._page(after):
            yield page
            after = page[-1].id

    async def _page(self, after: int) -> list[PredecessorPicture]:
        query = select(_IMAGE_META).where(_IMAGE_META.c.id > after).order_by(_IMAGE_META.c.id).limit(PAGE)
        return [PredecessorPicture(*row) for row in await self.retry.run(lambda: fetch_rows(self.engine, query))]


class Outcome(StrEnum):
    """What became of a picture."""

    COPIED = "copied"
    PRESENT = "there already"
    MISSING = "without an object"
    DIFFERS = "with another MD5"
    UNREADABLE = "unreadable"
    OCCUPIED = "whose key is occupied"
    REFUSED = "refused"

    @property
    def is_failure(self) -> bool:
        """Whether the picture was left out."""
        return self not in {Outcome.COPIED, Outcome.PRESENT}


class Result(NamedTuple):
    """What became of a picture, and for people why it was left out."""

    outcome: Outcome
    why: str = ""


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies pictures from the predecessor's bucket into one that is indexed. It never overwrites an object.

    An object of at most ``max_bytes`` is in memory while it is copied. With ``dry_run`` all is read, none is written.
    """

    source: ObjectReader
    source_bucket: str
    objects: ObjectWriter
    bucket: str
    prefix: str
    left_out: LeftOut
    max_bytes: int
    retry: OutageRetry
    dry_run: bool = False

    async def copy(self, picture: PredecessorPicture) -> Result:
        """Copy the picture unless it is there already. Safe to repeat. Raises Outage that outlasts the retry budget."""
        try:
            return await self.retry.run(lambda: self._copy(picture))
        except ObjectUnreadable as error:
            return Result(Outcome.UNREADABLE, str(error))
        except PreconditionFailed as error:
            return Result(Outcome.OCCUPIED, str(error))
        except (RequestRefused, ObjectTooLarge) as error:
            return Result(Outcome.REFUSED, str(error))

    async def _copy(self, picture: PredecessorPicture) -> Result:
        ref, metadata = ObjectRef(self.bucket, picture.key(self.prefix)), picture.metadata
        self.left_out.check(ref.key)
        present = await self.objects.head(ref)
        if present is not None:
            if metadata.items() <= present.metadata.items():
                return Result(Outcome.PRESENT)
            return Result(Outcome.OCCUPIED, f"{ref} is another object")
        original = ObjectRef(self.source_bucket, picture.file_path)
        state, data = await scoped(original, lambda: self._read(original), self.source)
        if state is None:
            return Result(Outcome.MISSING, f"there is no object {original}")
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if md5 != picture.hash_code.lower():
            return Result(Outcome.DIFFERS, f"{original} has the MD5 {md5}, and the row {picture.hash_code}")
        if not self.dry_run:
            await self.objects.put(ref, data, content_type=state.content_type, metadata=metadata, if_absent=True)
        return Result(Outcome.COPIED)

    async def _read(self, ref: ObjectRef) -> tuple[ObjectState | None, bytes]:
        data = bytearray()
        state = await self.source.read(ref, data.extend, max_bytes=self.max_bytes)
        return state, bytes(data)
