"""API keys, rates, concurrency, headers, cross-origin rules: what keeps one client from harming the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from query_api import new_key
from query_api.app import create_app
from query_api.http.access import hash_of
from schemas.settings import Settings
from tests.harness.library import Library, picture
from tests.unit.query_api.problems import assert_problem


@asynccontextmanager
async def _client(library: Library, **api: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings.model_validate({"api": api}), library.ports)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def test_api_keys(library: Library) -> None:
    """With keys set, every route that shows something wants one of them; health, page and docs stay open."""
    async with _client(library, key_hashes={"shop": hash_of("s3cret"), "other": hash_of("0ther")}) as client:
        for path in ("/v1/stats", "/v1/images", "/metrics", "/meta/image", "/v1/duplicates"):
            body = assert_problem(await client.get(path), 401)
            assert body["code"] == "unauthorized"
            for headers in ({"Authorization": "Bearer s3cret"}, {"X-API-Key": "0ther"}):
                assert (await client.get(path, headers=headers)).status_code == 200, path
            assert_problem(await client.get(path, headers={"Authorization": "Bearer wrong"}), 401)
        for path in ("/healthz", "/docs", "/openapi.json", "/v1/session"):
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("ours", [{"X-API-Key": "s3cret"}, {"Cookie": "twinlens_key=s3cret"}])
async def test_a_proxys_own_token_outranks_no_valid_key(library: Library, ours: dict[str, str]) -> None:
    """A proxy that asks for a bearer token passes it on: a valid key in the header or the cookie counts all the same,
    and a wrong one beside a wrong token does not.
    """
    async with _client(library, key_hashes={"shop": hash_of("s3cret")}) as client:
        proxy = {"Authorization": "Bearer a-token-of-the-proxy"}
        assert (await client.get("/v1/stats", headers={**proxy, **ours})).status_code == 200
        assert (await client.get("/v1/stats", headers={"Authorization": "Basic eDp5", **ours})).status_code == 200
        wrong = {name: value.replace("s3cret", "wrong") for name, value in ours.items()}
        assert_problem(await client.get("/v1/stats", headers={**proxy, **wrong}), 401)


async def test_key_is_checked_before_the_body(library: Library) -> None:
    """Without a key, nothing of an upload is looked at."""
    async with _client(library, key_hashes={"shop": hash_of("s3cret")}) as client:
        assert_problem(await client.post("/v1/search", files={"file": b"no picture"}), 401)


async def test_session_cookie_stands_for_the_key(library: Library) -> None:
    """The page trades a key for a cookie that scripts can't read, and can give it back."""
    async with _client(library, key_hashes={"shop": hash_of("s3cret")}) as client:
        answer = await client.post("/v1/session", json={"api_key": "s3cret"})
        assert answer.status_code == 204
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "samesite=strict" in answer.headers["set-cookie"].lower()
        assert (await client.get("/v1/stats")).status_code == 200
        assert (await client.get("/v1/session")).json() == {"api_keys": True, "authenticated": True}
        await client.delete("/v1/session")
        assert_problem(await client.get("/v1/stats"), 401)


def test_new_key_matches_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a key and exactly the hash that the settings need."""
    assert new_key.main(["shop"]) == 0
    key, line = capsys.readouterr().out.splitlines()
    assert line.endswith(f"shop: {hash_of(key.split()[-1])}")
    assert new_key.main(["two words"]) == 2


async def test_rate_limit_is_per_client(library: Library) -> None:
    """A client that asks too often gets 429 with Retry-After; another key is not affected, nor are thumbnails."""
    image_id = await library.add("a.png", picture(1))
    hashes = {"one": hash_of("1"), "two": hash_of("2")}
    async with _client(library, rate_limit="3/hour", key_hashes=hashes) as client:
        one, two = {"X-API-Key": "1"}, {"X-API-Key": "2"}
        for _ in range(3):
            assert (await client.get("/v1/stats", headers=one)).status_code == 200
        answer = await client.get("/v1/stats", headers=one)
        assert_problem(answer, 429)
        assert 0 < int(answer.headers["retry-after"]) <= 3601
        assert (await client.get("/v1/stats", headers=two)).status_code == 200
        assert (await client.get(f"/v1/images/{image_id}/thumbnail", headers=one)).status_code == 200


async def _held(library: Library) -> tuple[asyncio.Event, asyncio.Event]:
    """Make listings wait: (one is waiting, let them go on)."""
    waiting, go_on = asyncio.Event(), asyncio.Event()
    page = library.catalog.page

    async def slow(*args: Any, **kwargs: Any) -> Any:
        waiting.set()
        await go_on.wait()
        return await page(*args, **kwargs)

    library.catalog.page = slow  # type: ignore[method-assign]
    return waiting, go_on


@pytest.mark.parametrize(("api", "status"), [({"max_concurrency": 1}, 503), ({"max_concurrency_per_client": 1}, 429)])
async def test_concurrency_limits(library: Library, api: dict[str, int], status: int) -> None:
    """Beyond the limit requests are refused at once with Retry-After, health is answered, and it recovers."""
    waiting, go_on = await _held(library)
    async with _client(library, **api) as client:
        first = asyncio.create_task(client.get("/v1/images"))
        await asyncio.wait_for(waiting.wait(), 5)
        answer = await client.get("/v1/stats")
        assert_problem(answer, status)
        assert int(answer.headers["retry-after"]) >= 1
        assert (await client.get("/healthz")).status_code == 200
        go_on.set()
        assert (await first).status_code == 200
        assert (await client.get("/v1/stats")).status_code == 200


async def test_answers_have_a_time_limit(library: Library) -> None:
    """A search that takes too long ends with 503 instead of holding its client and its place."""

    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    library.catalog.hits = never  # type: ignore[method-assign]
    async with _client(library, request_timeout_s=0.3) as client:
        body = assert_problem(await client.post("/v1/search", files={"file": picture(1)}), 503)
        assert body["code"] == "timeout"


async def test_slow_body_is_cut_off(library: Library) -> None:
    """A body that does not arrive in time ends with 408."""

    async def dripping() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async with _client(library, body_timeout_s=0.3) as client:
        answer = await client.post("/v1/search", content=dripping(), headers={"Content-Type": "image/png"})
        assert_problem(answer, 408)


async def test_uploads_share_a_budget_of_bytes(library: Library) -> None:
    """While uploads hold all the bytes that there may be, another one is refused; then there is room again."""
    started, go_on = asyncio.Event(), asyncio.Event()
    data = picture(1)

    async def slow() -> AsyncIterator[bytes]:
        yield data[:-1]
        started.set()
        await go_on.wait()
        yield data[-1:]

    async with _client(library, max_bytes_in_flight=len(data) + 10) as client:
        png = {"Content-Type": "image/png"}
        first = asyncio.create_task(client.post("/v1/search", content=slow(), headers=png))
        await asyncio.wait_for(started.wait(), 5)
        assert_problem(await client.post("/v1/search", content=data, headers=png), 503)
        go_on.set()
        assert (await first).status_code == 200
        assert (await client.post("/v1/search", content=data, headers=png)).status_code == 200


async def test_cors_is_an_allow_list(library: Library) -> None:
    """Only listed origins may call from a browser; by default none."""
    good, bad = {"Origin": "https://good.example"}, {"Origin": "https://bad.example"}
    async with _client(library, cors_origins=["https://good.example"]) as client:
        assert (await client.get("/v1/stats", headers=good)).headers["access-control-allow-origin"] == good["Origin"]
        assert "access-control-allow-origin" not in (await client.get("/v1/stats", headers=bad)).headers
        preflight = {**good, "Access-Control-Request-Method": "POST"}
        assert (await client.options("/v1/search", headers=preflight)).status_code == 200
    async with _client(library) as client:
        assert "access-control-allow-origin" not in (await client.get("/v1/stats", headers=good)).headers


async def test_security_headers_everywhere(library: Library) -> None:
    """Every answer forbids sniffing, framing and scripts of others."""
    image_id = await library.add("a.png", picture(1))
    async with _client(library) as client:
        for path in ("/v1/stats", "/docs", "/no/where", f"/v1/images/{image_id}/file", "/healthz"):
            headers = (await client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert "unsafe-inline' " not in headers["content-security-policy"]
            assert headers["content-security-policy"].startswith("default-src 'none'")
