"""How much may be asked at once: requests in flight, in all and per client, and a rate per client."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from query_api.errors import Overloaded, RateLimited, RequestProblem
from query_api.http.access import ApiKeys, client_of, key_needed
from query_api.http.body_guard import SIGN_IN_PATH
from query_api.http.open_rate import A_SECOND, OpenRate
from query_api.http.problems import API_PATHS, SUPERVISORS_PATHS, problem_response
from query_api.http.turns import Turns
from query_api.metrics import Metrics
from schemas.settings import ApiSettings

_log = structlog.get_logger(__name__)

_UNRATED = re.compile(r"/v1/images/[^/]+/(file|thumbnail)")
_STRANGERS_PART = 4
"""Where keys are asked for, callers without one have a quarter of all places, and one address half of that."""
_NOTED_EVERY_S = 1.0
_HELD_BACK_S = 0.5
_MOST_HELD_BACK = 64


class Admission:
    """ASGI middleware that answers 429 or 503 before anything is read. Health checks are always let in."""

    def __init__(self, app: ASGIApp, *, settings: ApiSettings, keys: ApiKeys, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._metrics = metrics
        self._in_flight = 0
        self._strangers = 0
        self._strangers_places = max(1, settings.max_concurrency // _STRANGERS_PART)
        self._per_client: Counter[str] = Counter()
        self._rate: RateLimitItem | None = parse(settings.rate_limit) if settings.rate_limit else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._open_rate = OpenRate()
        self._turns = Turns()
        self._held_back = 0
        self._refused: Counter[int] = Counter()
        self._noted_at = -math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["key_name"] = self._keys.caller(scope)
        client = state["client"] = client_of(scope, state["key_name"])
        if scope["path"] in SUPERVISORS_PATHS:
            await self._app(scope, receive, send)
            return
        stranger = self._keys.is_stranger(scope)
        if stranger:
            # 150 that come at once would take 40 ms in one round of the loop, and key holders would wait for all of it.
            await self._turns.take()
        problem = (
            self._too_many(client, stranger=stranger)
            or (await self._too_often(client) if stranger else None)
            or await self._too_fast(client, scope["path"])
            or _without_key(scope["path"], stranger=stranger)
        )
        if problem is not None:
            self._note(client, problem)
            await problem_response(problem, state.get("request_id"), path=scope["path"])(scope, receive, send)
            return
        with self._place(client, stranger=stranger):
            await self._app(scope, receive, send)

    @contextmanager
    def _place(self, client: str, *, stranger: bool) -> Iterator[None]:
        self._in_flight += 1
        self._strangers += stranger
        self._per_client[client] += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            self._strangers -= stranger
            self._per_client[client] -= 1
            if not self._per_client[client]:
                del self._per_client[client]

    def _too_many(self, client: str, *, stranger: bool) -> RequestProblem | None:
        own = self._settings.max_concurrency_per_client
        if stranger:
            own = min(own, max(1, self._strangers_places // 2))
        if self._per_client.get(client, 0) >= own:
            self._metrics.shed.labels("client_concurrency").inc()
            return RateLimited("You have too many requests open at once.", headers={"Retry-After": "1"})
        full = self._in_flight >= self._settings.max_concurrency
        if full or (stranger and self._strangers >= self._strangers_places):
            self._metrics.shed.labels("concurrency").inc()
            return Overloaded("The service is answering all the requests that it takes at once.")
        return None

    async def _too_often(self, client: str) -> RequestProblem | None:
        if self._open_rate.takes(client):
            return None
        if self._held_back < _MOST_HELD_BACK:
            # Whoever asks again with the answer is slowed down; waiting costs nothing, and takes no place.
            self._held_back += 1
            try:
                await asyncio.sleep(_HELD_BACK_S)
            finally:
                self._held_back -= 1
        self._metrics.shed.labels("stranger_rate").inc()
        return RateLimited(f"Without a key you may ask {A_SECOND} times a second.", headers={"Retry-After": "1"})

    def _note(self, client: str, problem: RequestProblem) -> None:
        """One line a second for all that were refused: a line for each would be work that a flood makes."""
        self._refused[problem.status] += 1
        now = time.monotonic()
        if now - self._noted_at >= _NOTED_EVERY_S:
            _log.info("requests_refused", statuses=dict(self._refused), last_client=client)
            self._refused.clear()
            self._noted_at = now

    async def _too_fast(self, client: str, path: str) -> RequestProblem | None:
        if self._rate is None or not path.startswith(API_PATHS) or _UNRATED.fullmatch(path):
            return None
        if await self._limiter.hit(self._rate, client):
            return None
        self._metrics.shed.labels("rate").inc()
        reset = (await self._limiter.get_window_stats(self._rate, client)).reset_time
        wait = max(1, math.ceil(reset - time.time()))
        return RateLimited(f"You may ask {self._rate}.", headers={"Retry-After": str(wait)})


def _without_key(path: str, *, stranger: bool) -> RequestProblem | None:
    """Strangers are refused here, where it costs a third of what it does in a route: floods of them take time that
    others wait for. The routes ask for the key all the same.
    """
    return key_needed() if stranger and path.startswith(API_PATHS) and path != SIGN_IN_PATH else None
