"""Bounds on what a client sends: bytes per request and in all, and time. They hold while the body streams in."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from query_api.errors import BodyTimeout, Overloaded, TooLarge
from query_api.metrics import Metrics


class ByteBudget:
    """Bytes of bodies that the process holds at one moment."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit = limit
        self._metrics = metrics
        self.held = 0

    def take(self, count: int) -> None:
        """Count bytes in. Raises Overloaded where they are too many; waiting would hold what came before."""
        if self.held + count > self._limit:
            self._metrics.shed.labels("bytes").inc()
            raise Overloaded("Too many bytes are being uploaded at the moment; try again in a second.")
        self.held += count

    def give_back(self, count: int) -> None:
        """Count bytes out."""
        self.held -= count


class BodyGuard:
    """ASGI middleware. Its exceptions leave through the route that reads the body, which answers with a problem."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float, budget: ByteBudget) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _GuardedBody(receive, _declared(scope), self._max_bytes, self._timeout_s, self._budget)
        try:
            await self._app(scope, body.receive, _Stalling(send, self._timeout_s).send)
        finally:
            self._budget.give_back(body.taken)


def _declared(scope: Scope) -> int:
    """Content-Length, or 0: what is said is only good for refusing early, what comes is counted."""
    try:
        return int(Headers(scope=scope).get("content-length", "0"))
    except ValueError:
        return 0


class _GuardedBody:
    def __init__(self, receive: Receive, declared: int, max_bytes: int, timeout_s: float, budget: ByteBudget) -> None:
        self._receive = receive
        self._declared = declared
        self._max_bytes = max_bytes
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._budget = budget
        self._complete = False
        self.taken = 0

    async def receive(self) -> Message:
        """The next piece of the body; after the last one, the news that the client has gone, without a deadline."""
        if self._complete:
            return await self._receive()
        self._check(self._declared)
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise BodyTimeout("The body did not arrive in time.") from error
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            self._check(self.taken + count)
            self._budget.take(count)
            self.taken += count
            self._complete = not message.get("more_body", False)
        return message

    def _check(self, count: int) -> None:
        if count > self._max_bytes:
            raise TooLarge(f"A request may have {self._max_bytes:,} bytes.", limit=self._max_bytes)


class _Stalling:
    """Ends an answer that its reader does not take: it would hold a connection to the object store."""

    def __init__(self, send: Send, timeout_s: float) -> None:
        self._send = send
        self._timeout_s = timeout_s

    async def send(self, message: Message) -> None:
        async with asyncio.timeout(self._timeout_s):
            await self._send(message)
