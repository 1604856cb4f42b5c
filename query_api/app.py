"""The query service as an ASGI app, and its composition root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from query_api.access import ApiKeys, require_key
from query_api.admission import Admission
from query_api.body_guard import BodyGuard
from query_api.hosts import KnownHosts
from query_api.live_model import LiveModel
from query_api.observing import Observing
from query_api.page import Page, image_hosts
from query_api.problems import Problem, documented, install
from query_api.routes import compare, duplicates, files, health, images, predecessor, search, session, status
from query_api.services import Ports, Services, assemble
from query_api.time_limit import TimeLimit
from schemas.settings import Settings
from stores.catalog.reading.sql import open_reader
from stores.objects.opening import open_objects
from stores.urls import GuardedFetcher
from stores.vectors.milvus import MilvusVectors

DESCRIPTION = """
Reverse image search: send a picture, get the pictures that look like it. All routes under `/v1` only read; pictures
come in through the bucket. Every error is a problem document (RFC 9457, `application/problem+json`) with a `code`.
"""


def create_app(settings: Settings, ports: Ports) -> FastAPI:
    """The app over these ports. It connects to nothing before the first request, and closes no port."""
    services = assemble(settings, ports)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        services.close()

    app = FastAPI(
        title="Twinlens",
        version=status.twinlens_version(),
        description=DESCRIPTION.strip(),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.keys = ApiKeys(settings.api.key_hashes)
    install(app, services.outage_log)
    _add_routes(app, settings)
    _add_middleware(app, services)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def build(settings: Settings) -> FastAPI:
    """The app on the servers that the settings name; closed with it."""
    catalog = open_reader(settings.database, settings.objects.buckets)
    vectors = MilvusVectors(settings.vectors)
    objects = open_objects(settings.objects)
    urls = GuardedFetcher(timeout_s=settings.api.url_timeout_s) if settings.api.search_by_url else None
    model = LiveModel(vectors, settings.model)
    app = create_app(settings, Ports(catalog=catalog, vectors=vectors, objects=objects, model=model, urls=urls))
    app.router.lifespan_context = _closing(app, *[port for port in (urls, catalog, vectors, objects) if port])
    return app


def _closing(app: FastAPI, *closed_last: Any) -> Any:
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with inner(app) as state:
            yield state
        for port in closed_last:
            await port.close()

    return lifespan


def _add_routes(app: FastAPI, settings: Settings) -> None:
    guarded = [Depends(require_key)]
    for module in (search, compare, images, files, duplicates, status):
        app.include_router(module.router, dependencies=guarded)
    if settings.api.predecessor_routes:
        app.include_router(predecessor.router, dependencies=guarded)
    app.include_router(session.router)
    app.include_router(health.router)
    objects = settings.objects
    hosts = image_hosts(
        redirects=settings.api.file_delivery == "redirect" and objects.backend == "s3",
        secure=objects.secure,
        endpoint=objects.endpoint,
    )
    app.router.default = Page(hosts)


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
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "Range", "If-None-Match"],
            expose_headers=["X-Request-ID", "Retry-After", "ETag", "Content-Range"],
        )
    app.add_middleware(KnownHosts, public_url=api.public_url, allowed=api.allowed_hosts)
    app.add_middleware(Observing, metrics=metrics, open_to_origins=bool(api.cors_origins))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with the schemas that only hand-written parts refer to."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for model in (Problem, search.NamedQueries):
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schema["components"]["schemas"] |= described.pop("$defs", {}) | {model.__name__: described}
        _replace_validation_errors(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _replace_validation_errors(schema: dict[str, Any]) -> None:
    """FastAPI documents its own shape wherever a parameter can be wrong; ours are problems."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                operation["responses"]["422"] = documented(422)[422]
    for unused in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(unused, None)
