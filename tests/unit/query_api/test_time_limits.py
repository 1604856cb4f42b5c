"""Every route has a time limit, and works for nobody who has gone away; what many look at is read once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, cast

import httpx
import pytest
import structlog
from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import Message

from query_api.app import create_app
from query_api.services import ReadingPorts
from schemas.settings import Settings
from tests.harness.library import Library, picture
from tests.unit.query_api.problems import assert_problem

SOME_ID = "0" * 32
NEEDED: dict[str, dict[str, Any]] = {
    "GET /v1/compare": {"params": {"a": SOME_ID, "b": SOME_ID}},
    "POST /v1/compare": {"files": {"a": (None, SOME_ID), "b": (None, SOME_ID)}},
    "POST /v1/thumbnail": {"files": {"file": picture(1)}},
    "POST /v1/search": {"json": {"queries": [{"image_id": SOME_ID}]}},
    "POST /sample/file": {"files": {"file": picture(1)}},
}
"""What a request needs to be understood, beyond its path."""
ASK_NOBODY = {
    *(f"{method} /openapi.json" for method in ("GET", "HEAD")),
    *(f"{method} /v1/session" for method in ("GET", "POST", "DELETE")),
    "GET /healthz",
    "GET /metrics",
    "POST /v1/thumbnail",
    "POST /meta/image/file",
    "DELETE /meta/image/{_rest:path}",
    "DELETE /meta/image",
    "PUT /meta/image/{_rest:path}",
}
"""Routes that have nothing to wait for."""


class Silent:
    """A port that never answers."""

    def __init__(self) -> None:
        self.asked = 0
        self.waiting = 0
        self.was_asked = asyncio.Event()
        self.was_left = asyncio.Event()

    def __getattr__(self, _name: str) -> Any:
        return self.answer

    async def answer(self, *_: Any, **__: Any) -> None:
        """Never."""
        self.asked += 1
        self.waiting += 1
        self.was_asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
            self.was_left.set()


def _app(silent: Silent, **api: Any) -> FastAPI:
    port = cast("Any", silent)
    return create_app(Settings.model_validate({"api": api}), ReadingPorts(port, port, port, port))


def _routes(routes: Iterable[Any]) -> Iterator[str]:
    for route in routes:
        if isinstance(route, Route):
            yield from (f"{method} {route.path}" for method in sorted(route.methods or ()))
        else:
            yield from _routes(route.original_router.routes)


ROUTES = list(_routes(_app(Silent()).routes))


def _request(route: str) -> httpx.Request:
    method, _, path = route.partition(" ")
    for name, value in (("{image_id}", SOME_ID), ("{meta_uuid:path}", "name"), ("{_rest:path}", "name")):
        path = path.replace(name, value)
    return httpx.Request(method, f"http://localhost{path}", **NEEDED.get(route, {}))


@pytest.mark.parametrize("route", ROUTES)
async def test_each_route_has_a_time_limit(route: str) -> None:
    """Where the servers behind it never answer, each route does; and nothing goes on behind it."""
    silent = Silent()
    transport = httpx.ASGITransport(_app(silent, request_timeout_s=0.05))
    async with httpx.AsyncClient(transport=transport) as client, asyncio.timeout(5):
        answer = await client.send(_request(route))
        await answer.aread()
    assert silent.waiting == 0
    if route in ASK_NOBODY:
        assert silent.asked == 0
    else:
        assert silent.asked > 0
        assert answer.status_code == 503
        if not route.startswith("HEAD"):
            assert assert_problem(answer, 503)["code"] == "timeout"


@pytest.mark.parametrize("route", [route for route in ROUTES if route not in ASK_NOBODY])
async def test_no_route_works_for_a_client_that_has_gone(route: str) -> None:
    """Once its client has gone, what was asked for it is cancelled at once."""
    silent = Silent()
    request = _request(route)
    body = request.read()
    scope = {
        "type": "http", "method": request.method, "path": request.url.path, "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw], "client": ("127.0.0.1", 1),
        "server": ("localhost", 80), "scheme": "http", "http_version": "1.1", "root_path": "", "asgi": {},
    }  # fmt: skip
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    sent: list[Message] = []

    async def receive() -> Message:
        for message in messages:
            return message
        await silent.was_asked.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        await _app(silent)(scope, receive, send)
        await silent.was_left.wait()
    assert (silent.waiting, sent[0]["status"]) == (0, 499)


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
async def test_a_client_that_stops_sending_is_no_error(kind: str) -> None:
    """An upload that is stopped half-way, as the page's button does, ends quietly, as one that nobody waits for."""
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + picture(1)[:40]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/search", "query_string": b"", "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"localhost"), (b"content-type", kind.encode()), (b"content-length", b"5000")],
        "server": ("localhost", 80), "scheme": "http", "http_version": "1.1", "root_path": "", "asgi": {},
    }  # fmt: skip
    beginning: Message = {"type": "http.request", "body": body, "more_body": True}
    messages = iter([beginning, {"type": "http.disconnect"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    with structlog.testing.capture_logs() as logged:
        await _app(Silent())(scope, receive, send)
    assert sent[0]["status"] == 499
    assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == []


async def test_fifty_status_pages_cost_what_one_does(library: Library, settings: Settings) -> None:
    """What all look at is read once, and again when it is a second old."""
    await library.add("a.png", picture(1))
    asked: Counter[str] = Counter()
    for name in ("statistics", "indexed_per_minute", "rejections", "patrol_rounds", "page", "count"):
        _count(library.catalog, name, asked)
    _count(library.vectors, "count", asked, as_name="vectors")
    pages = ["/v1/stats", "/v1/stats/throughput", "/v1/stats/rejections", "/v1/stats/patrol", "/v1/images?count=true"]
    transport = httpx.ASGITransport(create_app(settings, library.ports))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for page in pages:
            answers = await asyncio.gather(*[client.get(page) for _ in range(50)])
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.text for answer in answers}) == 1
        assert set(asked.values()) == {1}
        assert len(asked) == 7
        await library.add("b.png", picture(2))
        assert (await client.get("/v1/stats")).json()["objects"] == 2
        assert asked["statistics"] == 2


def _count(port: Any, name: str, asked: Counter[str], as_name: str | None = None) -> None:
    method = getattr(port, name)

    async def counted(*args: Any, **kwargs: Any) -> Any:
        asked[as_name or name] += 1
        await asyncio.sleep(0)
        return await method(*args, **kwargs)

    setattr(port, name, counted)


@pytest.mark.slow
async def test_bytes_for_thumbnails_count_before_they_are_read(library: Library) -> None:
    """A picture that there is no room for is not read; nor is one on for nobody, and then there is room again."""
    image_id = await library.add("a.png", picture(1))
    silent, read = Silent(), library.objects.read
    url = f"/v1/images/{image_id}/thumbnail"
    for room, limit_s, code, times in ((100, 60, "overloaded", 0), (1_000_000, 2, "timeout", 1)):
        app = create_app(
            Settings.model_validate({"api": {"max_bytes_in_flight": room, "request_timeout_s": limit_s}}), library.ports
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            library.objects.read = silent.answer  # type: ignore[method-assign]
            assert assert_problem(await client.get(url), 503)["code"] == code
            assert (silent.asked, silent.waiting) == (times, 0)
            library.objects.read = read  # type: ignore[method-assign]
            assert (await client.get(url)).status_code == (200 if times else 503)
