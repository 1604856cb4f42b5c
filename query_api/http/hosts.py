"""The names that the service goes by.

A page of evil.example whose name is made to lead to this machine (DNS rebinding) is of one origin with us to a browser,
and its name would be written into links. Starlette's own middleware takes no IPv6 address and answers with plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from query_api.errors import UnknownHost
from query_api.http.problems import problem_response
from stores.addresses import parsed_address

HEALTH_PATHS = ("/healthz", "/readyz")
"""Answered under any name: supervisors ask by addresses that change, and learn nothing else."""
METRICS_PATH = "/metrics"
"""Answered under any address: Prometheus finds the processes by theirs, and only a name can be made to lead here."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(:\d*)?")


class KnownHosts:
    """ASGI middleware that answers for loopback names, the host of ``public_url``, and ``allowed`` ones; any port."""

    def __init__(self, app: ASGIApp, *, public_url: str, allowed: Iterable[str]) -> None:
        self._app = app
        public = urlsplit(public_url).hostname
        self._names = {"localhost", *(name.lower() for name in allowed), *([public] if public else [])}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS or self._knows(scope):
            await self._app(scope, receive, send)
            return
        problem = UnknownHost("Ask by a name of this service; operators add names to `api.allowed_hosts`.")
        await problem_response(problem, scope["state"]["request_id"], path=scope["path"])(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        names = Headers(scope=scope).getlist("host")
        match = _HOST.fullmatch(names[0].lower()) if len(names) == 1 else None
        if match is None:
            return False
        name = match[1].strip("[]")
        address = parsed_address(name)
        if address is None:
            return name in self._names
        return name in self._names or address.is_loopback or scope["path"] == METRICS_PATH
