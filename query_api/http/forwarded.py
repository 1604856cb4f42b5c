"""What a reverse proxy says of the request that it passes on: who asked, over which scheme, below which path."""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PREFIX_HEADER: Final = "X-Forwarded-Prefix"
_PREFIX: Final = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")
"""Segments that need no escaping, and none that leads upwards: the prefix is written into links and a cookie."""
_MAX_LENGTH: Final = 256


class Forwarded:
    """ASGI middleware. Only proxies at ``trusted`` addresses (comma-separated; ``*`` for all) are believed.

    ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are left to uvicorn's middleware, which lies beneath this one: after
    it nobody knows any more who the proxy was. A proxy that names a prefix has taken it off the path.
    """

    def __init__(self, app: ASGIApp, *, trusted: str) -> None:
        self._app = ProxyHeadersMiddleware(app, trusted_hosts=trusted)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = scope.get("client")
            trusted = client is not None and client[0] in self._app.trusted_hosts
            scope.setdefault("state", {})["prefix"] = _named_prefix(Headers(scope=scope)) if trusted else ""
        await self._app(scope, receive, send)  # type: ignore[arg-type]


def _named_prefix(headers: Headers) -> str:
    """The prefix without its last slash; empty where there is none, or none that can be a path."""
    names = headers.getlist(PREFIX_HEADER)
    prefix = names[0].rstrip("/") if len(names) == 1 else ""
    return prefix if len(prefix) <= _MAX_LENGTH and _PREFIX.fullmatch(prefix) else ""


def prefix_of(scope: Scope) -> str:
    """The path that clients reach the service below, such as ``/pictures``; empty for the root."""
    prefix: str = scope["state"].get("prefix", "")
    return prefix
