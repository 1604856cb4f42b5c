"""Nothing is worked on for longer than an answer may take, or for a client that has gone away."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from query_api.http.problems import from_exception, problem_response
from query_api.metrics import Metrics

_GONE: Message = {"type": "http.disconnect"}
_NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}
CLIENT_GONE = 499
"""What nginx logs for a client that went away; nobody reads it."""


class TimeLimit:
    """ASGI middleware around all routes: the work of one that takes too long, or for nobody, is cancelled.

    The time counts from the end of the body, whose arrival has a limit of its own, to the beginning of the answer.
    """

    def __init__(self, app: ASGIApp, *, timeout_s: float, body_timeout_s: float, metrics: Metrics) -> None:
        self._app = app
        self._timeout_s = timeout_s
        self._body_timeout_s = body_timeout_s
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            # A route may answer without reading the body: then that is no excuse to take longer.
            async with asyncio.timeout(self._body_timeout_s + self._timeout_s) as limit:
                exchange = _Exchange(receive, send, limit, self._timeout_s)
                try:
                    if not _has_body(scope):
                        exchange.begin()
                    await self._app(scope, exchange.receive, exchange.send)
                finally:
                    await exchange.end()
        except ClientDisconnect:
            # Who stops sending is no bug of ours, and is told nothing.
            self._metrics.disconnects.inc()
            if not exchange.answering:
                await Response(status_code=CLIENT_GONE)(scope, exchange.receive, send)
        except TimeoutError:
            if not limit.expired():
                raise
            await self._break_off(exchange, scope, send)

    async def _break_off(self, exchange: _Exchange, scope: Scope, send: Send) -> None:
        if exchange.gone:
            self._metrics.disconnects.inc()
        if exchange.answering:
            return
        problem = from_exception(TimeoutError())
        response = problem_response(problem, scope["state"].get("request_id"), path=scope["path"])
        await (Response(status_code=CLIENT_GONE) if exchange.gone else response)(scope, exchange.receive, send)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


class _Exchange:
    """One request and its answer."""

    def __init__(self, receive: Receive, send: Send, limit: asyncio.Timeout, timeout_s: float) -> None:
        self.answering = False
        self._receive = receive
        self._send = send
        self._limit = limit
        self._timeout_s = timeout_s
        self._body_read = False
        self._left = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    @property
    def gone(self) -> bool:
        """Whether the client left before the end of the answer."""
        return self._left.is_set()

    def begin(self) -> None:
        """The body is there, if there is one: from now on it is our time."""
        self._end_in(self._timeout_s)
        self._watch = asyncio.create_task(self._wait_for_disconnect())

    async def end(self) -> None:
        """Nobody has to be waited for any more."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def receive(self) -> Message:
        """What the route gets: its body, then the news that the client has gone."""
        if self._watch is None:
            message = await self._receive()
            self._body_read = message["type"] == "http.request" and not message.get("more_body", False)
            if self._body_read:
                self.begin()
            return message
        if not self._body_read:
            self._body_read = True
            return _NO_BODY
        await self._left.wait()
        return _GONE

    async def send(self, message: Message) -> None:
        """What the route answers. An answer that has begun takes as long as its reader does."""
        if message["type"] == "http.response.start":
            self.answering = True
            self._end_in(None)
        elif not message.get("more_body", False):
            # From here on a server tells of a disconnect when all is well, too.
            await self.end()
        await self._send(message)

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left.set()
        self._end_in(0)

    def _end_in(self, seconds: float | None) -> None:
        if not self._limit.expired():
            self._limit.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)
