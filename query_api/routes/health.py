"""For supervisors: alive, ready, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from imaging.errors import ImagingError
from query_api.access import require_key
from query_api.answers import Answer
from query_api.errors import Unavailable
from query_api.problems import documented
from query_api.services import Services, Using
from schemas.errors import Outage, TwinlensError

router = APIRouter(tags=["operation"])
CHECK_TIMEOUT_S = 5.0


class Alive(Answer):
    """The process answers."""

    status: str = "ok"


class Ready(Answer):
    """Everything that a search needs answers."""

    status: str = "ready"
    checks: dict[str, str]


@router.get("/healthz", response_model=Alive, responses=documented(), summary="Alive")
async def healthz() -> Alive:
    """The process answers. It says nothing about what lies behind it: restarting would not help that."""
    return Alive()


@router.get("/readyz", response_model=Ready, responses=documented(), summary="Ready")
async def readyz(services: Using) -> Ready:
    """Catalog, vector index, object store and model were asked just now. Otherwise a problem names what is missing."""
    names = ("catalog", "vectors", "objects", "model")
    answers = await asyncio.gather(
        *[_checked(name, check, services) for name, check in zip(names, _checks(services), strict=True)]
    )
    checks = dict(zip(names, answers, strict=True))
    missing = [name for name, answer in checks.items() if answer != "ok"]
    if missing:
        raise Unavailable(f"Not ready: {', '.join(missing)}.", dependency=missing[0], checks=checks)
    return Ready(checks=checks)


def _checks(services: Services) -> tuple[Awaitable[object], ...]:
    ports = services.ports
    return ports.catalog.check(), ports.vectors.check(), _objects(services), ports.model.current()


async def _objects(services: Services) -> None:
    for bucket in services.settings.objects.buckets:
        await services.ports.objects.check(bucket)


async def _checked(name: str, check: Awaitable[object], services: Services) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check
    except TimeoutError:
        return "no answer in time"
    except Outage as error:
        services.outage_log.away(error.dependency, str(error))
        return "away"
    except (TwinlensError, ImagingError) as error:
        return str(error)
    services.outage_log.back(name)
    return "ok"


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[Depends(require_key)],
    responses={200: {"description": "Prometheus text format.", "content": {"text/plain": {}}}, **documented()},
    summary="Metrics",
)
async def metrics(services: Using) -> Response:
    """Counters, gauges and histograms of the service; of all its processes together."""
    return Response(services.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
