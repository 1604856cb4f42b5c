"""``GET /v1/duplicates``: a page of groups at a time."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from query_api.answers import Answer, Image, image_of
from query_api.duplicates import Group, exact_groups, near_groups
from query_api.links import Links
from query_api.paging import MAX_TOKEN_LENGTH, make_token, read_token
from query_api.parameters import Bucket
from query_api.problems import documented
from query_api.services import Services, Using
from schemas.records import ContentId

router = APIRouter(prefix="/v1/duplicates", tags=["duplicates"])

IMAGES_PER_GROUP = 100
MAX_SCANNED = 1000
MAX_SECONDS = 2.0
"""A page ends after so many contents, or this long, however few groups it has: they may be rare."""


class Kind(StrEnum):
    """The same bytes, or the same look."""

    EXACT = "exact"
    NEAR = "near"


class DuplicateGroup(Answer):
    """Images that are the same."""

    kind: Kind
    bucket: str
    score: float = Field(description="The lowest of the links within the group; 100 for an exact one.")
    size: int = Field(description="How many images it has.")
    images: list[Image] = Field(description="At most 100 of them.")
    truncated: bool = Field(description="Whether `images` are not all, or the group was not followed to its end.")


class DuplicatePage(Answer):
    """Some groups. A page may hold fewer than asked for, even none, and still have a next one."""

    results: list[DuplicateGroup]
    next_page_token: str | None
    scanned: int = Field(description="Contents looked at for this page.")


class _Page:
    """Collects groups until there are enough or the time is over."""

    def __init__(self, limit: int) -> None:
        self.groups: list[Group] = []
        self.scanned = 0
        self._limit = limit
        self._ends_at = time.monotonic() + MAX_SECONDS

    def full_after(self, group: Group | None) -> bool:
        """Count one step in; whether the page ends with it."""
        self.scanned += 1
        if group is not None:
            self.groups.append(group)
        enough = len(self.groups) >= self._limit or self.scanned >= MAX_SCANNED
        return enough or time.monotonic() >= self._ends_at


@router.get("", response_model=DuplicatePage, responses=documented(422), summary="Find duplicates")
async def duplicates(
    *,
    services: Using,
    kind: Annotated[
        Kind, Query(description="`exact`: the same bytes; `near`: different bytes, the same look.")
    ] = Kind.EXACT,
    bucket: Bucket = None,
    min_score: Annotated[
        float | None, Query(description="For near duplicates; the model's copy threshold if left out.", ge=50, le=100)
    ] = None,
    limit: Annotated[int, Query(description="Groups on the page, at most.", ge=1, le=200)] = 20,
    page_token: Annotated[str | None, Query(description="From the page before.", max_length=MAX_TOKEN_LENGTH)] = None,
) -> DuplicatePage:
    """Groups of duplicates, each once. Go on until `next_page_token` is null."""
    page = _Page(limit)
    if kind is Kind.EXACT:
        token = await _exact(page, bucket, page_token, services)
    else:
        token = await _near(page, bucket, min_score, page_token, services)
    results = [_shown(kind, group, services.links) for group in page.groups]
    return DuplicatePage(results=results, next_page_token=token, scanned=page.scanned)


async def _exact(page: _Page, bucket: str | None, token: str | None, services: Services) -> str | None:
    listing = f"exact {bucket}"
    after = ContentId(*read_token(token, listing, (str, str))) if token else None
    async for step in exact_groups(services.ports.catalog, bucket=bucket, after=after):
        if page.full_after(step.group):
            return make_token(listing, list(step.position))
    return None


async def _near(
    page: _Page, bucket: str | None, min_score: float | None, token: str | None, services: Services
) -> str | None:
    ports = services.ports
    wanted = min_score if min_score is not None else (await ports.model.current()).copy_threshold
    listing = f"near {bucket} {wanted}"
    [after] = read_token(token, listing, (int,)) if token else [-1]
    async for step in near_groups(ports.catalog, ports.vectors, bucket=bucket, min_score=wanted, after=after):
        if page.full_after(step.group):
            return make_token(listing, [step.position])
    return None


def _shown(kind: Kind, group: Group, links: Links) -> DuplicateGroup:
    # Every content is shown before any is shown twice.
    pairs = [(image, each.content, place) for each in group.contents for place, image in enumerate(each.images)]
    pairs.sort(key=lambda pair: pair[2])
    shown = [image_of(image, content, links) for image, content, _ in pairs[:IMAGES_PER_GROUP]]
    return DuplicateGroup(
        kind=kind,
        bucket=group.bucket,
        score=group.score,
        size=group.size,
        images=shown,
        truncated=group.truncated or group.size > len(shown),
    )
