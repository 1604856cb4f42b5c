"""The HTTP endpoint of a worker: /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

log = structlog.get_logger(__name__)

Checks = Callable[[], Awaitable[Mapping[str, str]]]
"""The state of each dependency: "ok", or what is wrong with it."""


def health_app(checks: Checks) -> Starlette:
    """Alive as soon as it answers; ready while every check says "ok"."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        found = dict(await checks())
        ready = all(state == "ok" for state in found.values())
        status = "ready" if ready else "unavailable"
        return JSONResponse({"status": status, "checks": found}, status_code=200 if ready else 503)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


class _HealthServer(uvicorn.Server):
    """Leaves the process's signals to the worker, and tells when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def serve_health(host: str, port: int, checks: Checks) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port."""
    config = uvicorn.Config(health_app(checks), host=host, port=port, log_config=None, access_log=False, lifespan="off")
    server = _HealthServer(config)
    task = asyncio.create_task(server.serve())
    up = asyncio.create_task(server.up.wait())
    await asyncio.wait({up, task}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        up.cancel()
        await task
    bound = server.servers[0].sockets[0].getsockname()[1]
    log.info("health_endpoint", host=host, port=bound)
    try:
        yield bound
    finally:
        server.should_exit = True
        await task
