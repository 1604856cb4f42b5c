"""Counts, throughput and rejections for people and for the status page."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from query_api.answers import Answer
from query_api.http.dependencies import TheOverviews, TheQueries, TheSettings, TheStatus
from query_api.http.parameters import Bucket
from query_api.http.problems import documented
from schemas.patrol import PatrolRound

router = APIRouter(prefix="/v1/stats", tags=["status"])


class ServiceLimits(Answer):
    """What may be uploaded."""

    max_picture_bytes: int
    max_pictures: int
    max_request_bytes: int


class Features(Answer):
    """What is switched on."""

    search_by_url: bool
    api_keys: bool


class Stats(Answer):
    """Counts of one moment. `objects` = `pending` + `indexed` + `rejected`."""

    objects: int
    contents: int = Field(description="Distinct pictures per bucket, by their bytes.")
    vectors: int | None = Field(description="As the vector index counts them; null while it does not answer.")
    indexed: int
    pending: int
    rejected: int
    bytes: int
    oldest_pending_at: datetime | None
    oldest_pending_s: float | None = Field(description="Its age in seconds.")
    model: str | None = Field(description="The live model; null while the vector index does not answer.")
    buckets: list[str] = Field(description="The buckets that are indexed.")
    limits: ServiceLimits
    features: Features
    version: str


@router.get("", response_model=Stats, responses=documented(422), summary="Counts")
async def stats(status: TheStatus, settings: TheSettings, queries: TheQueries, bucket: Bucket = None) -> Stats:
    """How much there is and how far it is, of one bucket or of all."""
    counts, oldest_pending_s, vectors, model = await status.standing(bucket)
    return Stats(
        objects=counts.objects,
        contents=counts.contents,
        vectors=vectors,
        indexed=counts.indexed,
        pending=counts.pending,
        rejected=counts.rejected,
        bytes=counts.bytes,
        oldest_pending_at=counts.oldest_pending,
        oldest_pending_s=oldest_pending_s,
        model=model,
        buckets=list(settings.objects.buckets),
        limits=ServiceLimits(
            max_picture_bytes=settings.limits.max_object_bytes,
            max_pictures=settings.api.max_pictures,
            max_request_bytes=settings.api.max_request_bytes,
        ),
        features=Features(search_by_url=queries.urls is not None, api_keys=bool(settings.api.key_hashes)),
        version=twinlens_version(),
    )


def twinlens_version() -> str:
    """The installed version; a checkout that was not installed has none."""
    try:
        return version("twinlens")
    except PackageNotFoundError:
        return "0.0.0"


class Minute(Answer):
    """What was indexed within one minute, which begins at `minute`."""

    minute: datetime
    indexed: int


class Throughput(Answer):
    """Every minute of the time asked for, oldest first; the last one is still running."""

    results: list[Minute]
    minutes: int
    total: int


@router.get("/throughput", response_model=Throughput, responses=documented(422), summary="Indexed per minute")
async def throughput(
    status: TheStatus,
    minutes: Annotated[int, Query(description="How far back.", ge=1, le=1440)] = 60,
    bucket: Bucket = None,
) -> Throughput:
    """How many contents were indexed in each of the last minutes."""
    counted = await status.indexed_per_minute(minutes, bucket)
    results = [Minute(minute=minute, indexed=indexed) for minute, indexed in counted]
    return Throughput(results=results, minutes=minutes, total=sum(each.indexed for each in results))


class RejectionCount(Answer):
    """A reason and how many objects were rejected for it."""

    reason: str
    objects: int


class Rejections(Answer):
    """Most frequent first. The images themselves: `GET /v1/images?state=rejected`."""

    results: list[RejectionCount]


@router.get("/rejections", response_model=Rejections, responses=documented(422), summary="Rejected, by reason")
async def rejections(overviews: TheOverviews, bucket: Bucket = None) -> Rejections:
    """Why pictures were rejected."""
    counted = await overviews.rejections.get(bucket)
    return Rejections(results=[RejectionCount(reason=reason, objects=n) for reason, n in counted.items()])


class Patrolled(Answer):
    """The last round in each bucket that has had one."""

    results: list[PatrolRound]


@router.get("/patrol", response_model=Patrolled, responses=documented(422), summary="What the patrol found")
async def patrol(overviews: TheOverviews, settings: TheSettings, bucket: Bucket = None) -> Patrolled:
    """When each bucket was last compared with the catalog, and how its notification rule was found."""
    indexed = settings.objects.buckets
    buckets = tuple(name for name in indexed if bucket in (None, name))
    return Patrolled(results=list(await overviews.patrol_rounds.get(buckets)))
