"""The outermost middleware: request id, one log line and the metrics of each request, security headers, last resort."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from query_api.metrics import Metrics
from query_api.problems import from_exception, problem_response

API_CSP = "default-src 'none'; frame-ancestors 'none'"
_QUIET = ("/healthz", "/readyz", "/metrics")
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Answer:
    status: int = 0
    started: bool = False


class Observing:
    """ASGI middleware. ``open_to_origins`` says that pages of other origins may show our pictures."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, open_to_origins: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._headers = {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": API_CSP,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "cross-origin" if open_to_origins else "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer()
        begun = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.started = message["status"], True
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        with self._metrics.in_flight.track_inprogress(), structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception as error:
                if answer.started:
                    # The status line is out; all that is left is to cut the connection, so that nobody takes a part
                    # of an answer for the whole.
                    _log.warning("answer_cut_off", path=scope["path"], error=repr(error))
                    raise
                _log.exception("request_failed", path=scope["path"])
                response = problem_response(from_exception(error), request_id, path=scope["path"])
                await response(scope, receive, send_with_headers)
            finally:
                self._note(scope, answer, time.perf_counter() - begun)

    def _note(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._metrics.requests.labels(route, method, str(answer.status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        level = _log.debug if route in _QUIET or route == "other" else _log.info
        level("request", method=scope["method"], path=scope["path"], route=route, status=answer.status,
              seconds=round(seconds, 4), client=scope["state"].get("client"))  # fmt: skip


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
