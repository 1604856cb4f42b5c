"""Query parameters that several routes share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime

from query_api.errors import InvalidRequest
from query_api.search import SearchOptions
from schemas.collection import MAX_WINDOW
from schemas.records import ImageState
from stores.catalog.reading.ports import ImageFilter

MAX_BYTES = 2**53
"""The largest integer that every JSON reader takes for what it is."""
_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST = datetime(9999, 12, 30, tzinfo=UTC)


def _storable(moment: datetime) -> datetime:
    """Times that no database can compare mean "ever" and "never"."""
    return min(max(moment, _EARLIEST), _LATEST)


Moment = Annotated[AwareDatetime, AfterValidator(_storable)]
Bucket = Annotated[str | None, Query(description="Only in this bucket.", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
Prefix = Annotated[str | None, Query(description="Only keys that begin so, byte by byte.", max_length=1024)]
ContentType = Annotated[
    str | None,
    Query(description="Only this media type, such as image/jpeg.", max_length=255, examples=["image/jpeg"]),
]
CreatedFrom = Annotated[Moment | None, Query(description="Only images first seen at or after this time.")]
CreatedTo = Annotated[Moment | None, Query(description="Only images first seen before this time.")]
SizeMin = Annotated[int | None, Query(description="Only files of at least so many bytes.", ge=0, le=MAX_BYTES)]
SizeMax = Annotated[int | None, Query(description="Only files of at most so many bytes.", ge=0, le=MAX_BYTES)]


async def _common_filter(
    *,
    bucket: Bucket = None,
    prefix: Prefix = None,
    content_type: ContentType = None,
    created_from: CreatedFrom = None,
    created_to: CreatedTo = None,
    size_min: SizeMin = None,
    size_max: SizeMax = None,
) -> ImageFilter:
    return ImageFilter(
        bucket=bucket,
        prefix=prefix or None,
        content_type=content_type or None,
        created_from=created_from,
        created_to=created_to,
        size_min=size_min,
        size_max=size_max,
    )


# Dependencies are coroutines, though they wait for nothing: FastAPI runs plain functions in a thread, each time.
Where = Annotated[ImageFilter, Depends(_common_filter)]


async def _listing_filter(
    *,
    where: Where,
    state: Annotated[ImageState | None, Query(description="Only images in this state.")] = None,
    key: Annotated[str | None, Query(description="Only the object with this key.", max_length=1024)] = None,
    external_id: Annotated[str | None, Query(description="Only images with this external id.", max_length=255)] = None,
    sha256: Annotated[str | None, Query(description="Only these bytes.", pattern="^[0-9a-f]{64}$")] = None,
    md5: Annotated[str | None, Query(description="Only bytes with this MD5.", pattern="^[0-9a-f]{32}$")] = None,
) -> ImageFilter:
    extra: dict[str, Any] = {
        "state": state, "key": key, "external_id": external_id, "sha256": sha256, "md5": md5,
    }  # fmt: skip
    shared = {name: getattr(where, name) for name in _SHARED}
    return ImageFilter(**shared, **extra)


_SHARED = ("bucket", "prefix", "content_type", "created_from", "created_to", "size_min", "size_max")
ListingWhere = Annotated[ImageFilter, Depends(_listing_filter)]

Limit = Annotated[int, Query(description="Hits on the page.", ge=1, le=MAX_WINDOW)]
Offset = Annotated[
    int, Query(description=f"Hits before the page; offset + limit is at most {MAX_WINDOW}.", ge=0, lt=MAX_WINDOW)
]
MinScore = Annotated[float, Query(description="Only hits with at least this score.", ge=0, le=100)]
Fresh = Annotated[bool, Query(description="See what was indexed in the last moments too; takes up to 0.3 s longer.")]


async def _search_options(
    *,
    where: Where,
    limit: Limit = 20,
    offset: Offset = 0,
    min_score: MinScore = 0,
    exclude_exact: Annotated[bool, Query(description="Leave out the same bytes.")] = False,
    fresh: Fresh = False,
) -> SearchOptions:
    check_window(limit, offset)
    return SearchOptions(limit, offset, min_score, where, exclude_exact, fresh)


async def _similar_options(
    *,
    where: Where,
    limit: Limit = 20,
    offset: Offset = 0,
    min_score: MinScore = 0,
    exclude_exact: Annotated[bool, Query(description="Leave out the picture itself and the same bytes.")] = True,
    fresh: Fresh = False,
) -> SearchOptions:
    check_window(limit, offset)
    return SearchOptions(limit, offset, min_score, where, exclude_exact, fresh)


Options = Annotated[SearchOptions, Depends(_search_options)]
SimilarOptions = Annotated[SearchOptions, Depends(_similar_options)]


def check_window(limit: int, offset: int) -> None:
    """Raises InvalidRequest where a page ends beyond what can be ranked."""
    if offset + limit > MAX_WINDOW:
        raise InvalidRequest(
            f"offset + limit may be at most {MAX_WINDOW}, and is {offset + limit}.", field="query.offset"
        )
