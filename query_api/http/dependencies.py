"""What routes are given of the app: each names what it needs, and FastAPI hands it in.

Dependencies are coroutines, though they wait for nothing: FastAPI runs plain functions in a thread, each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request

from query_api.http.forwarded import prefix_of
from query_api.http.links import Links
from query_api.http.uploads import BodyReader
from query_api.metrics import Metrics
from query_api.pictures.thumbnails import Thumbnails
from query_api.pictures.uploaded import UploadedPictures
from query_api.search.live_model import ModelSource
from query_api.search.queries import Queries
from query_api.search.search import Ranker
from query_api.search.status import Status
from query_api.search.verifying import JudgedSearch, Verifying
from query_api.services import Services
from query_api.sharing.gathered import GatheredCatalog
from query_api.sharing.overviews import Overviews
from query_api.sharing.readiness import Readiness
from schemas.settings import Settings
from stores.catalog.reading.ports import CatalogReader
from stores.objects.ports import ObjectReader


def _given[T](pick: Callable[[Services], T]) -> Any:
    async def given(request: Request) -> T:
        return pick(request.app.state.services)

    return Depends(given)


TheSettings = Annotated[Settings, _given(lambda services: services.settings)]
TheMetrics = Annotated[Metrics, _given(lambda services: services.metrics)]
TheReadiness = Annotated[Readiness, _given(lambda services: services.readiness)]
TheModels = Annotated[ModelSource, _given(lambda services: services.models)]
TheCatalog = Annotated[CatalogReader, _given(lambda services: services.catalog)]
TheGatheredCatalog = Annotated[GatheredCatalog, _given(lambda services: services.gathered)]
TheObjects = Annotated[ObjectReader, _given(lambda services: services.objects)]
TheOverviews = Annotated[Overviews, _given(lambda services: services.overviews)]
TheStatus = Annotated[Status, _given(lambda services: services.status)]
TheThumbnails = Annotated[Thumbnails, _given(lambda services: services.thumbnails)]
ThePictures = Annotated[UploadedPictures, _given(lambda services: services.pictures)]
TheQueries = Annotated[Queries, _given(lambda services: services.queries)]
TheRanker = Annotated[Ranker, _given(lambda services: services.ranker)]
TheVerifying = Annotated[Verifying, _given(lambda services: services.verifying)]
TheSearch = Annotated[JudgedSearch, _given(lambda services: services.search)]


async def _body_reader(settings: TheSettings, metrics: TheMetrics) -> BodyReader:
    return BodyReader(settings.limits.max_object_bytes, settings.api.max_pictures, metrics)


TheBodyReader = Annotated[BodyReader, Depends(_body_reader)]


async def _links(request: Request, settings: TheSettings) -> Links:
    return Links(settings.api.public_url or prefix_of(request.scope))


TheLinks = Annotated[Links, Depends(_links)]
"""Addresses as the client can follow them: below ``api.public_url``, else below the prefix that a proxy names."""
