"""``GET /v1/duplicates``: a page of groups at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from query_api.answers import Answer, Image, image_of
from query_api.http.dependencies import TheCatalog, TheLinks, TheModels
from query_api.http.links import Links
from query_api.http.paging import MAX_TOKEN_LENGTH, make_token, read_token
from query_api.http.parameters import Bucket, OneVerifier
from query_api.http.problems import documented
from query_api.search.duplicates import ExactStep, Group, NearStep, exact_groups, near_groups
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
    verified: bool = Field(description="Whether local features have confirmed what holds it together; false if exact.")
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

    async def fill(self, listing: str, walk: AsyncIterator[ExactStep] | AsyncIterator[NearStep]) -> str | None:
        """Walk on until the page ends; the token of the next one, or None at the end."""
        async for step in walk:
            self.scanned += 1
            if step.group is not None:
                self.groups.append(step.group)
            enough = len(self.groups) >= self._limit or self.scanned >= MAX_SCANNED
            if enough or time.monotonic() >= self._ends_at:
                return make_token(listing, [step.position] if isinstance(step, NearStep) else [*step.position])
        return None


@router.get("", response_model=DuplicatePage, responses=documented(422), summary="Find duplicates")
async def duplicates(
    *,
    catalog: TheCatalog,
    models: TheModels,
    verifier: OneVerifier,
    links: TheLinks,
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
        listing = f"exact {bucket}"
        after = ContentId(*read_token(page_token, listing, (str, str))) if page_token else None
        token = await page.fill(listing, exact_groups(catalog, bucket=bucket, after=after))
    else:
        model = await models.current()
        least = min_score if min_score is not None else model.copy_threshold
        verify = verifier.contents if verifier else None
        listing = f"near {bucket} {least}{' verified' if verify else ''}"
        [behind] = read_token(page_token, listing, (int,)) if page_token else [-1]
        walk = near_groups(catalog, model.vectors, bucket=bucket, min_score=least, after=behind, verify=verify)
        token = await page.fill(listing, walk)
    results = [_shown(kind, group, links) for group in page.groups]
    return DuplicatePage(results=results, next_page_token=token, scanned=page.scanned)


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
        verified=group.verified,
        truncated=group.truncated or group.size > len(shown),
    )
