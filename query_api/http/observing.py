"""The outermost middleware: request id, one log line and the metrics of each request, security headers, last resort."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from query_api.http.problems import API_PATHS, SUPERVISORS_PATHS, from_exception, problem_response
from query_api.metrics import Metrics
from schemas import tracing

REQUEST_ID_HEADER = "X-Request-ID"
API_CSP = "default-src 'none'; frame-ancestors 'none'"
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
        if not tracing.is_on() or not scope["path"].startswith(API_PATHS):
            await self._observed(scope, receive, send, request_id, answer)
            return
        parent = tracing.valid(Headers(scope=scope).get(tracing.TRACEPARENT))
        attributes = {"twinlens.request_id": request_id}
        with tracing.span("request", attributes, kind="server", parent=parent, fresh=parent is None):
            await self._observed(scope, receive, send, request_id, answer)

    async def _observed(self, scope: Scope, receive: Receive, send: Send, request_id: str, answer: _Answer) -> None:
        begun = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.started = message["status"], True
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
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
        route = _route(scope)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        tracing.rename(f"{method} {route}")
        tracing.note({"http.request.method": method, "http.route": route, "http.response.status_code": answer.status})
        self._metrics.requests.labels(route, method, str(answer.status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        level = _log.debug if route in SUPERVISORS_PATHS or route == "other" else _log.info
        level("request", method=scope["method"], path=scope["path"], route=route, status=answer.status,
              seconds=round(seconds, 4), client=scope["state"].get("client"))  # fmt: skip


def _route(scope: Scope) -> str:
    """The template of the path: it has no part that a client has written."""
    return getattr(scope.get("route"), "path", None) or "other"


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
