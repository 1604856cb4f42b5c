"""One error shape, whatever goes wrong and wherever."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from query_api.app import create_app
from schemas.errors import CatalogOutage
from schemas.settings import Settings
from tests.harness.library import Library, picture
from tests.unit.query_api.problems import ABSENT, assert_problem

PNG = {"Content-Type": "image/png"}
WRONG = [
    ("GET", "/nothing/here", {}, 404),
    ("GET", "/v1/nothing", {}, 404),
    ("DELETE", "/v1/images", {}, 405),
    ("PUT", f"/v1/images/{ABSENT}", {}, 405),
    ("GET", "/v1/search", {}, 405),
    ("POST", "/v1/search", {}, 422),
    ("POST", "/v1/search?limit=0", {"content": b"x", "headers": PNG}, 422),
    ("POST", "/v1/search?limit=many", {"content": b"x", "headers": PNG}, 422),
    ("POST", "/v1/search?limit=600&offset=600", {"content": b"x", "headers": PNG}, 422),
    ("POST", "/v1/search?min_score=101", {"content": b"x", "headers": PNG}, 422),
    ("POST", "/v1/search?bucket=NO", {"content": b"x", "headers": PNG}, 422),
    ("POST", "/v1/search?created_from=yesterday", {"content": b"x", "headers": PNG}, 422),
    ("POST", "/v1/search", {"content": b"a=b", "headers": {"Content-Type": "text/plain"}}, 415),
    ("POST", "/v1/search", {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
    ("POST", "/v1/search", {"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}, 400),
    ("POST", "/v1/search", {"files": {"other": b"x"}}, 422),
    ("POST", "/v1/search", {"files": {"file": b""}}, 422),
    ("POST", "/v1/search", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 422),
    ("POST", "/v1/search", {"json": {"queries": []}}, 422),
    ("POST", "/v1/search", {"json": {"queries": [{"image_id": ABSENT}]}}, 404),
    ("POST", "/v1/search", {"json": {"queries": [{"image_id": "x"}]}}, 422),
    ("POST", "/v1/search", {"json": {"queries": [{"upload": "u-nothing"}]}}, 410),
    ("POST", "/v1/search?original_sha256=x", {"content": b"x", "headers": PNG}, 422),
    ("GET", "/v1/images?limt=5", {}, 422),
    ("POST", "/v1/search", {"json": {"queries": [{"url": "http://127.0.0.1/"}]}}, 403),
    ("POST", "/v1/search", {"json": {"queries": [{"vector": [1.0, 2.0]}]}}, 422),
    ("POST", "/v1/search", {"json": {"queries": [{"vector": [0.0] * 512}]}}, 422),
    ("GET", f"/v1/images/{ABSENT}", {}, 404),
    ("GET", "/v1/images/..%2f..%2fetc%2fpasswd", {}, 404),
    ("GET", f"/v1/images/{ABSENT}/file", {}, 404),
    ("GET", f"/v1/images/{ABSENT}/thumbnail", {}, 404),
    ("GET", f"/v1/images/{ABSENT}/thumbnail?size=77", {}, 422),
    ("POST", "/v1/thumbnail", {"files": {"file": ("a.png", b"GIF89a")}}, 422),
    ("POST", "/v1/thumbnail?size=77", {"files": {"file": ("a.png", b"GIF89a")}}, 422),
    ("GET", f"/v1/images/{ABSENT}/similar", {}, 404),
    ("GET", "/v1/images?page_token=broken", {}, 422),
    ("GET", "/v1/images?limit=0", {}, 422),
    ("GET", "/v1/images?state=lost", {}, 422),
    ("GET", f"/v1/compare?a={ABSENT}", {}, 422),
    ("GET", f"/v1/compare?a={ABSENT}&b={ABSENT}", {}, 404),
    ("POST", "/v1/compare", {}, 415),
    ("POST", "/v1/compare", {"files": {"a": picture(1)}}, 422),
    ("GET", "/v1/duplicates?kind=odd", {}, 422),
    ("GET", "/v1/duplicates?page_token=broken", {}, 422),
    ("GET", "/v1/stats?bucket=NO", {}, 422),
    ("GET", "/v1/stats/throughput?minutes=0", {}, 422),
    ("GET", "/v1/stats/rejections?bucket=NO", {}, 422),
    ("GET", "/v1/stats/patrol?bucket=NO", {}, 422),
    ("POST", "/v1/session", {"json": {}}, 422),
    ("POST", "/v1/session", {"json": {"api_key": "wrong"}}, 401),
    ("POST", "/sample/file", {}, 415),
    ("POST", "/sample/file", {"files": {"file": picture(1)}, "data": {"limit": "all"}}, 422),
    ("GET", "/meta/image?limit=-1", {}, 422),
    ("GET", "/meta/image/none", {}, 404),
    ("POST", "/meta/image/file", {"files": {"file": picture(1)}}, 405),
    ("DELETE", "/meta/image/none", {}, 405),
    ("POST", "/healthz", {}, 405),
    ("DELETE", "/metrics", {}, 405),
]


@pytest.mark.parametrize(("method", "path", "options", "status"), WRONG)
async def test_every_error_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str, options: Mapping[str, Any], status: int
) -> None:
    """Whatever is wrong with a request, the answer is a problem document that says what."""
    answer = await client.request(method, path, **options)
    body = assert_problem(answer, status)
    if path.startswith(("/sample/", "/meta/")):
        assert body["succeed"] is False
        assert body["message"] == body["detail"]


def test_every_route_has_a_wrong_request(app: FastAPI) -> None:
    """No documented route is left out of the test above, but the ones that nothing can be wrong with."""
    fearless = {"/metrics", "/meta/image/count", "/readyz", "/healthz"}
    asked = {
        path.partition("?")[0].replace(ABSENT, "{image_id}").replace("/none", "/{meta_uuid}") for _, path, _, _ in WRONG
    }
    assert set(app.openapi()["paths"]) - fearless <= asked


def _documented_gets(app: FastAPI) -> list[str]:
    paths = [path for path, operations in app.openapi()["paths"].items() if "get" in operations]
    return [path.replace("{image_id}", ABSENT).replace("{meta_uuid}", ABSENT) for path in paths]


async def test_outage_is_a_503_everywhere(app: FastAPI, client: httpx.AsyncClient, library: Library) -> None:
    """While the database is away, every route that needs it answers 503 with Retry-After; the service stays up."""
    await library.engine.dispose()

    async def away(*_: object, **__: object) -> None:
        raise CatalogOutage("gone for a test")

    library.catalog._rows = away  # type: ignore[assignment]
    needless = {"/healthz", "/metrics", "/v1/session"}
    for path in _documented_gets(app):
        if path in needless:
            assert (await client.get(path)).status_code == 200
            continue
        query = f"?a={ABSENT}&b={ABSENT}" if path == "/v1/compare" else ""
        answer = await client.get(path + query)
        body = assert_problem(answer, 503)
        assert body["retryable"] is True
        assert int(answer.headers["retry-after"]) > 0
    answer = await client.get("/readyz")
    assert answer.json()["checks"]["catalog"] == "away"
    assert answer.json()["checks"]["vectors"] == "ok"


async def test_vector_outage_is_a_503(client: httpx.AsyncClient, library: Library) -> None:
    """While the vector index is away searches answer 503, and the counts are there without it."""
    await library.add("a.png", picture(1))
    library.vectors.outage = True
    body = assert_problem(await client.post("/v1/search", files={"file": picture(1)}), 503)
    assert (body["code"], body["dependency"]) == ("unavailable", "vectors")
    stats = (await client.get("/v1/stats")).json()
    assert (stats["objects"], stats["vectors"]) == (1, None)


async def test_bug_is_a_500_without_its_text(app: FastAPI, client: httpx.AsyncClient) -> None:
    """An unexpected exception is answered with a problem that reveals nothing of it."""

    async def broken() -> None:
        raise RuntimeError("a secret")

    app.add_api_route("/broken", broken)
    body = assert_problem(await client.get("/broken"), 500)
    assert "secret" not in str(body)


def _bomb(side: int) -> bytes:
    """A PNG that claims a size that nobody wants to decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def _truncated() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((300, 300), 80).save(out, "JPEG")
    return out.getvalue()[:4000]


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", 422, "empty"),
        (b"This is a letter, not a picture. " * 20, 422, "not_an_image"),
        (b"<!doctype html><script>alert(1)</script>", 422, "not_an_image"),
        (_truncated(), 422, "truncated"),
        (_bomb(60_000), 422, "too_many_pixels"),
        (b"\xff\xd8" + b"\0" * 25 * 1024 * 1024, 413, None),
    ],
    ids=["empty", "text", "html", "truncated", "bomb", "large"],
)
@pytest.mark.parametrize("path", ["/v1/search", "/sample/file"])
async def test_bad_picture_is_refused_quickly(
    client: httpx.AsyncClient, path: str, data: bytes, status: int, reason: str | None
) -> None:
    """What is no picture gets the right 4xx with a reason, within a second."""
    begun = time.process_time()
    answer = await client.post(path, files={"file": ("picture.jpg", data)})
    # Of the processor, since others use it too: client and service together.
    assert time.process_time() - begun < 1
    assert assert_problem(answer, status).get("reason") == reason


async def test_the_unreadable_one_of_several_is_named(client: httpx.AsyncClient) -> None:
    """Of several pictures the one that can't be read is named by its index."""
    files = [("file", ("a.png", picture(1))), ("file", ("b.png", b"no picture at all"))]
    assert assert_problem(await client.post("/v1/search", files=files), 422)["picture"] == 1


async def test_body_limit_holds_while_streaming(library: Library) -> None:
    """A body beyond the limit is refused when the limit is passed, whatever its headers say."""
    settings = Settings.model_validate({"api": {"max_request_bytes": 10_000}})
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 10_000_000:
            sent += 4096
            yield b"\0" * 4096

    transport = httpx.ASGITransport(create_app(settings, library.ports))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/v1/search", content=endless(), headers=PNG)
        assert_problem(answer, 413)
        assert sent < 20_000
        answer = await client.post("/v1/search", content=b"x", headers={**PNG, "Content-Length": "99999999"})
        assert_problem(answer, 413)


async def test_too_many_pictures_are_refused(client: httpx.AsyncClient) -> None:
    """More pictures than `api.max_pictures` in one call are refused."""
    files = [("file", (f"{n}.png", picture(n))) for n in range(9)]
    assert_problem(await client.post("/v1/search", files=files), 400)
    queries = {"queries": [{"image_id": ABSENT}] * 9}
    assert_problem(await client.post("/v1/search", json=queries), 422)


@pytest.mark.parametrize("most", [1, 64])
async def test_the_description_says_how_many_pictures_a_search_takes(library: Library, most: int) -> None:
    """The bodies and the parameter that has an entry for each picture name `api.max_pictures` of this very service."""
    described = create_app(Settings.model_validate({"api": {"max_pictures": most}}), library.ports).openapi()
    search = described["paths"]["/v1/search"]["post"]
    form = search["requestBody"]["content"]["multipart/form-data"]["schema"]
    [originals] = [each for each in search["parameters"] if each["name"] == "original_sha256"]
    lists = [
        form["properties"]["file"],
        described["components"]["schemas"]["NamedQueries"]["properties"]["queries"],
        originals["schema"],
    ]
    assert [(each["type"], each["maxItems"]) for each in lists] == [("array", most)] * 3
