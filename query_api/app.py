"""The query service as an ASGI app, and its composition root."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from query_api.http.access import API_KEY_HEADER, ApiKeys, require_key
from query_api.http.admission import Admission
from query_api.http.body_guard import BodyGuard
from query_api.http.forwarded import Forwarded
from query_api.http.hosts import KnownHosts
from query_api.http.named_queries import NamedQueries
from query_api.http.observing import REQUEST_ID_HEADER, Observing
from query_api.http.parameters import only_known
from query_api.http.problems import Problem, documented, install
from query_api.http.time_limit import TimeLimit
from query_api.page import WebPage, image_hosts
from query_api.routes import compare, duplicates, files, health, images, predecessor, search, session, stats, thumbnail
from query_api.search.live_model import LiveModel
from query_api.services import ReadingPorts, Services, assemble
from schemas.settings import Settings
from stores.catalog.reading.sql import open_reader
from stores.objects.opening import open_objects
from stores.urls import GuardedFetcher
from stores.vectors.milvus import MilvusVectors
from stores.vectors.views import VectorsWithViews

DESCRIPTION = """
Reverse image search: send a picture, get the pictures that look like it. All routes under `/v1` only read; pictures
come in through the bucket. Every error is a problem document (RFC 9457, `application/problem+json`) with a `code`.
"""


def create_app(settings: Settings, ports: ReadingPorts) -> FastAPI:
    """The app over these ports. It connects to nothing before the first request, and closes no port."""
    services = assemble(settings, ports)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        services.close()

    app = FastAPI(
        title="Twinlens",
        version=stats.twinlens_version(),
        description=DESCRIPTION.strip(),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.keys = ApiKeys(settings.api.key_hashes)
    install(app, services.outages)
    app.router.routes.extend(_routes(with_predecessors=settings.api.predecessor_routes))
    app.router.default = _page(settings)
    _add_middleware(app, services)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def build(settings: Settings) -> FastAPI:
    """The app on the servers that the settings name; closed with it."""
    catalog = open_reader(settings.database, settings.objects.buckets)
    milvus = MilvusVectors(settings.vectors)
    vectors = VectorsWithViews(milvus, settings.index.views)
    objects = open_objects(settings.objects)
    urls = GuardedFetcher(timeout_s=settings.api.url_timeout_s) if settings.api.search_by_url else None
    model = LiveModel(vectors, settings.model, catalog.switch)
    ports = ReadingPorts(catalog=catalog, vectors=vectors, objects=objects, model=model, urls=urls)
    app = create_app(settings, ports)
    app.router.lifespan_context = _closing(app, *[port for port in (urls, catalog, milvus, objects) if port])
    return app


def _closing(app: FastAPI, *closed_last: Any) -> Any:
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        try:
            async with inner(app) as state:
                yield state
        finally:
            await close_all(closed_last)

    return lifespan


async def close_all(ports: Iterable[Any]) -> None:
    """Close each, whatever becomes of the others; then raise the first error, with the further ones as its notes."""
    errors: list[Exception] = []
    for port in ports:
        try:
            await port.close()
        except Exception as error:  # the others are closed all the same
            errors.append(error)
    if errors:
        for further in errors[1:]:
            errors[0].add_note(f"closing another port failed, too: {further!r}")
        raise errors[0]


@cache
def _routes(*, with_predecessors: bool) -> Sequence[BaseRoute]:
    """The same for all apps of a process: with the first request FastAPI takes their parameters apart, once."""
    routes = APIRouter()
    guarded = [Depends(require_key), Depends(only_known)]
    for module in (search, compare, images, files, thumbnail, duplicates, stats):
        routes.include_router(module.router, dependencies=guarded)
    if with_predecessors:
        # Its clients may send what its service took no notice of.
        routes.include_router(predecessor.router, dependencies=[Depends(require_key)])
    routes.include_router(session.router, dependencies=[Depends(only_known)])
    routes.include_router(health.router, dependencies=[Depends(only_known)])
    return routes.routes


def _page(settings: Settings) -> WebPage:
    objects = settings.objects
    hosts = image_hosts(
        redirects=settings.api.file_delivery == "redirect" and objects.backend == "s3",
        secure=objects.secure,
        endpoint=objects.endpoint,
    )
    return WebPage(hosts)


def _add_middleware(app: FastAPI, services: Services) -> None:
    """The last one added is the outermost."""
    api, metrics = services.settings.api, services.metrics
    app.add_middleware(TimeLimit, timeout_s=api.request_timeout_s, body_timeout_s=api.body_timeout_s, metrics=metrics)
    app.add_middleware(
        BodyGuard,
        max_bytes=api.max_request_bytes,
        timeout_s=api.body_timeout_s,
        budget=services.budget,
        keys=app.state.keys,
    )
    app.add_middleware(Admission, settings=api, keys=app.state.keys, metrics=metrics)
    if api.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(api.cors_origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", API_KEY_HEADER, "Range", "If-None-Match"],
            expose_headers=[REQUEST_ID_HEADER, "Retry-After", "ETag", "Content-Range"],
        )
    app.add_middleware(KnownHosts, public_url=api.public_url, allowed=api.allowed_hosts)
    app.add_middleware(Observing, metrics=metrics, open_to_origins=bool(api.cors_origins))
    app.add_middleware(Forwarded, trusted=api.trusted_proxies)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with the schemas that only hand-written parts refer to."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            servers=[{"url": ".", "description": "Beside this description, whatever prefix it lies below."}],
        )
        for model in (Problem, NamedQueries):
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schema["components"]["schemas"] |= described.pop("$defs", {}) | {model.__name__: described}
        _replace_validation_errors(schema)
        _name_the_most(schema, app.state.services.settings.api.max_pictures)
        app.openapi_schema = schema
    return app.openapi_schema


def _name_the_most(schema: dict[str, Any], pictures: int) -> None:
    """How many pictures one search takes is a setting, which the description of this service's body tells."""
    search = schema["paths"]["/v1/search"]["post"]
    form = search["requestBody"]["content"]["multipart/form-data"]["schema"]
    form["properties"]["file"]["maxItems"] = pictures
    schema["components"]["schemas"]["NamedQueries"]["properties"]["queries"]["maxItems"] = pictures
    [originals] = [each for each in search["parameters"] if each["name"] == "original_sha256"]
    originals["schema"]["maxItems"] = pictures


def _replace_validation_errors(schema: dict[str, Any]) -> None:
    """FastAPI documents its own shape wherever a parameter can be wrong; ours are problems."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                operation["responses"]["422"] = documented(422)[422]
    for unused in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(unused, None)
