"""Running the query service with uvicorn."""

from __future__ import annotations

import uvicorn

from query_api.app import build
from schemas.settings import Settings

BACKLOG = 512
STOP_WITHIN_S = 10


def serve(settings: Settings) -> None:
    """Answer until SIGINT or SIGTERM; then finish what is being answered, for at most ``STOP_WITHIN_S`` seconds.

    Logs are the caller's: uvicorn's own access log is off, since each request has its line already.
    """
    api = settings.api
    config = uvicorn.Config(
        build(settings),
        host=api.host,
        port=api.port,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=api.trusted_proxies,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=32 * 1024,
    )
    uvicorn.Server(config).run()
