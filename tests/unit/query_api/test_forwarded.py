"""Behind a reverse proxy: what it says of a request is believed if it is trusted, and links lead back through it."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from query_api.app import create_app
from schemas.settings import Settings
from tests.harness.library import Library, picture

PREFIX = {"X-Forwarded-Prefix": "/shop/pictures/"}
KEY = "the right key"


def _client(library: Library, address: str = "127.0.0.1", **api: object) -> httpx.AsyncClient:
    settings = Settings.model_validate({"objects": {"buckets": ["pictures", "other"]}, "api": api})
    transport = httpx.ASGITransport(create_app(settings, library.ports), client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def _links(client: httpx.AsyncClient, headers: dict[str, str]) -> list[str]:
    [image] = (await client.get("/v1/images", headers=headers)).json()["results"]
    found = await client.post("/v1/search", content=picture(1), headers={**headers, "Content-Type": "image/png"})
    [hit] = found.json()["results"]
    compared = await client.get("/v1/compare", params={"a": image["id"], "b": image["id"]}, headers=headers)
    alone = await client.get(f"/v1/images/{image['id']}", headers=headers)
    return [
        each[name].removesuffix(f"/v1/images/{image['id']}/{name.removesuffix('_url')}").partition("/v1/")[0]
        for each in (image, hit["image"], compared.json()["a"]["image"], alone.json())
        for name in ("file_url", "thumbnail_url")
    ]


@pytest.mark.parametrize(
    ("address", "headers", "api", "expected"),
    [
        ("127.0.0.1", PREFIX, {}, "/shop/pictures"),
        ("192.0.2.7", PREFIX, {}, ""),
        ("192.0.2.7", PREFIX, {"trusted_proxies": "192.0.2.0/24"}, "/shop/pictures"),
        ("127.0.0.1", {**PREFIX, "X-Forwarded-For": "198.51.100.1"}, {}, "/shop/pictures"),
        ("127.0.0.1", PREFIX, {"public_url": "https://pictures.example/all"}, "https://pictures.example/all"),
        ("127.0.0.1", {"X-Forwarded-Prefix": "//evil.example"}, {}, ""),
        ("127.0.0.1", {"X-Forwarded-Prefix": "/a/../b"}, {}, ""),
        ("127.0.0.1", {"X-Forwarded-Prefix": '/a;b="<c>'}, {}, ""),
        ("127.0.0.1", {"X-Forwarded-Prefix": "/" + "a" * 300}, {}, ""),
    ],
)
async def test_links_begin_with_the_prefix_of_a_trusted_proxy(
    library: Library, address: str, headers: dict[str, str], api: dict[str, str], expected: str
) -> None:
    """All addresses in answers begin with the prefix, if a trusted proxy names one that can be a path; with
    `api.public_url` they begin with that.
    """
    await library.add("a.png", picture(1))
    async with _client(library, address, **api) as client:
        assert await _links(client, headers) == [expected] * 8


async def test_the_cookie_is_for_the_prefix_alone(library: Library) -> None:
    """What else has the host's name is not sent the key."""
    async with _client(library, key_hashes={"page": hashlib.sha256(KEY.encode()).hexdigest()}) as client:
        answer = await client.post("/v1/session", json={"api_key": KEY}, headers=PREFIX)
        assert "Path=/shop/pictures;" in answer.headers["set-cookie"] + ";"
        answer = await client.delete("/v1/session", headers=PREFIX)
        assert "Path=/shop/pictures;" in answer.headers["set-cookie"] + ";"


@pytest.mark.parametrize("path", ["/browse/", "/status//", "/docs/"])
async def test_a_slash_too_many_is_taken_off(library: Library, path: str) -> None:
    """Relative links below `/browse/` would lead astray; the way to `/browse` is relative itself."""
    async with _client(library) as client:
        answer = await client.get(path)
        assert answer.status_code == 308
        assert answer.headers["location"] == f"..{path.rstrip('/')}"
