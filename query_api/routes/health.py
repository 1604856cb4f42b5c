"""For supervisors: alive, ready, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from query_api.answers import Answer
from query_api.errors import Unavailable
from query_api.http.access import require_key
from query_api.http.dependencies import TheMetrics, TheReadiness
from query_api.http.problems import documented
from query_api.sharing.readiness import OK

router = APIRouter(tags=["operation"])


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
async def readyz(readiness: TheReadiness) -> Ready:
    """Catalog, vectors, object store and model answered within a second. Else a problem names what is missing."""
    checks = await readiness.look()
    missing = [name for name, answer in checks.items() if answer != OK]
    if missing:
        raise Unavailable(f"Not ready: {', '.join(missing)}.", dependency=missing[0], checks=checks)
    return Ready(checks=checks)


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[Depends(require_key)],
    responses={200: {"description": "Prometheus text format.", "content": {"text/plain": {}}}, **documented()},
    summary="Metrics",
)
async def metrics(metrics: TheMetrics) -> Response:
    """Counters, gauges and histograms of the service; of all its processes together."""
    return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
