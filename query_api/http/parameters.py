"""Query parameters that several routes share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from pydantic import AfterValidator, AwareDatetime

from query_api.errors import InvalidRequest
from query_api.http.dependencies import TheSettings, TheVerifying
from query_api.search.search import SearchOptions
from query_api.search.verifying import Verifier
from schemas.collection import MAX_WINDOW
from schemas.records import BUCKET_PATTERN, EXTERNAL_ID_MAX, KEY_MAX_BYTES, SHA256_PATTERN, ImageState
from stores.catalog.reading.ports import ImageFilter


async def only_known(request: Request) -> None:
    """Raises InvalidRequest for query parameters that the route does not have: misspelt ones would do nothing."""
    known = sorted(_parameters(request.scope["route"].dependant))
    unknown = sorted(set(request.query_params) - set(known))[:_FAULTS_LISTED]
    if unknown:
        faults = [{"field": f"query.{name[:_NAME_SHOWN]}", "message": _no_such(name, known)} for name in unknown]
        raise InvalidRequest(f"{faults[0]['field']}: {faults[0]['message']}", errors=faults, known=known)


def _parameters(dependant: Dependant) -> set[str]:
    beneath = [_parameters(each) for each in dependant.dependencies]
    return {field.alias for field in dependant.query_params}.union(*beneath)


def _no_such(name: str, known: Sequence[str]) -> str:
    meant = get_close_matches(name[:_NAME_SHOWN], known, n=1)
    hint = f" Did you mean {meant[0]}?" if meant else ""
    return f"There is no such parameter.{hint} There {f'are {", ".join(known)}' if known else 'is none'}."


_FAULTS_LISTED = 20
_NAME_SHOWN = 64
MAX_BYTES = 2**53
"""The largest integer that every JSON reader takes for what it is."""
_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST = datetime(9999, 12, 30, tzinfo=UTC)


def _storable(moment: datetime) -> datetime:
    """Times that no database can compare mean "ever" and "never"."""
    return min(max(moment, _EARLIEST), _LATEST)


Moment = Annotated[AwareDatetime, AfterValidator(_storable)]
Bucket = Annotated[str | None, Query(description="Only in this bucket.", pattern=BUCKET_PATTERN)]
Prefix = Annotated[str | None, Query(description="Only keys that begin so, byte by byte.", max_length=KEY_MAX_BYTES)]
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
    key: Annotated[str | None, Query(description="Only the object with this key.", max_length=KEY_MAX_BYTES)] = None,
    external_id: Annotated[
        str | None, Query(description="Only images with this external id.", max_length=EXTERNAL_ID_MAX)
    ] = None,
    sha256: Annotated[str | None, Query(description="Only these bytes.", pattern=SHA256_PATTERN)] = None,
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

_Verify = Annotated[
    bool | None,
    Query(
        description="Verify the best hits by local features: then `copy` means verified. "
        "By default as `api.verify` says."
    ),
]


async def _whether_to_verify(settings: TheSettings, verify: _Verify = None) -> bool:
    return settings.api.verify if verify is None else verify


Verify = Annotated[bool, Depends(_whether_to_verify)]


async def _verifier(request: Request, verifying: TheVerifying, verify: Verify) -> Verifier | None:
    return verifying.for_client(request.state.client) if verify else None


OneVerifier = Annotated[Verifier | None, Depends(_verifier)]
"""That of this request, where it asks to verify."""

Parts = Annotated[
    bool, Query(description="Search for sixteen parts of each picture, or the tiles of a long one, too: takes longer.")
]


async def _search_options(
    *,
    where: Where,
    limit: Limit = 20,
    offset: Offset = 0,
    min_score: MinScore = 0,
    exclude_exact: Annotated[bool, Query(description="Leave out the same bytes.")] = False,
    fresh: Fresh = False,
    verify: Verify,
    parts: Parts = False,
) -> SearchOptions:
    check_window(limit, offset)
    return SearchOptions(limit, offset, min_score, where, exclude_exact, fresh, verify, parts)


async def _similar_options(
    *,
    where: Where,
    limit: Limit = 20,
    offset: Offset = 0,
    min_score: MinScore = 0,
    exclude_exact: Annotated[bool, Query(description="Leave out the picture itself and the same bytes.")] = True,
    fresh: Fresh = False,
    verify: Verify,
) -> SearchOptions:
    check_window(limit, offset)
    return SearchOptions(limit, offset, min_score, where, exclude_exact, fresh, verify)


Options = Annotated[SearchOptions, Depends(_search_options)]
SimilarOptions = Annotated[SearchOptions, Depends(_similar_options)]


def check_window(limit: int, offset: int) -> None:
    """Raises InvalidRequest where a page ends beyond what can be ranked."""
    if offset + limit > MAX_WINDOW:
        raise InvalidRequest(
            f"offset + limit may be at most {MAX_WINDOW}, and is {offset + limit}.", field="query.offset"
        )
