"""Bounds on what a client sends: bytes per request and in all, and time. They hold while the body streams in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from query_api.errors import BodyTimeout, TooLarge
from query_api.http.access import ApiKeys
from query_api.sharing.byte_budget import ByteBudget

OPEN_BODY_BYTES = 4096
"""The largest body that is read without a key: to sign in, and of strangers where keys are asked for."""
OPEN_BODY_TIMEOUT_S = 5.0
"""How long a stranger may take to send it: a place that is held longer is missing to others who sign in."""
SIGN_IN_PATH = "/v1/session"


class BodyGuard:
    """ASGI middleware. Its exceptions leave through the route that reads the body, which answers with a problem."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float, budget: ByteBudget, keys: ApiKeys) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._budget = budget
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope["state"]["client"]
        max_bytes, timeout_s = self._max_bytes, self._timeout_s
        if scope["path"] == SIGN_IN_PATH or self._keys.is_stranger(scope):
            max_bytes, timeout_s = min(max_bytes, OPEN_BODY_BYTES), min(timeout_s, OPEN_BODY_TIMEOUT_S)
        body = _GuardedBody(receive, _declared(scope), max_bytes, timeout_s, partial(self._budget.take, client))
        try:
            await self._app(scope, body.receive, _Stalling(send, self._timeout_s).send)
        finally:
            self._budget.give_back(client, body.taken)


def _declared(scope: Scope) -> int:
    """Content-Length, or 0: what is said is only good for refusing early, what comes is counted."""
    try:
        return int(Headers(scope=scope).get("content-length", "0"))
    except ValueError:
        return 0


class _GuardedBody:
    def __init__(
        self, receive: Receive, declared: int, max_bytes: int, timeout_s: float, take: Callable[[int], None]
    ) -> None:
        self._receive = receive
        self._declared = declared
        self._max_bytes = max_bytes
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._take = take
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
            self._take(count)
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
