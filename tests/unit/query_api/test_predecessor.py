"""The predecessor's reads, shape for shape."""

from __future__ import annotations

import httpx
import pytest

from imaging.digest import digest_of
from query_api.app import create_app
from schemas.records import ContentState
from schemas.settings import Settings
from tests.harness.library import Library, picture
from tests.unit.query_api.problems import assert_problem

IMAGE_MEMBERS = {
    "id", "meta_uuid", "hash_code", "milvus_id", "file_name", "file_path", "created_at", "updated_at", "file_url",
    "file_relative_url",
}  # fmt: skip


async def test_sample_file(client: httpx.AsyncClient, library: Library) -> None:
    """A search answers the predecessor's envelope; every object of a content is a hit of its own."""
    await library.add("a/one.png", picture(1), external_id="uuid-1")
    await library.add("two.png", picture(1))
    await library.add("far.png", picture(2))
    body = (await client.post("/sample/file", files={"file": picture(1)}, data={"offset": "0", "limit": "100"})).json()
    assert set(body) == {"succeed", "message", "data"}
    assert body["succeed"] is True
    first, second, third = body["data"]
    assert set(first) == IMAGE_MEMBERS | {"distance", "score"}
    assert [hit["file_name"] for hit in body["data"]] == ["one.png", "two.png", "far.png"]
    assert (first["distance"], first["score"], first["meta_uuid"]) == (0, 100, "uuid-1")
    assert second["meta_uuid"] == second["hash_code"] == digest_of(picture(1)).md5
    assert third["score"] == pytest.approx((2 - third["distance"]) / 2 * 100, abs=1e-4)
    assert isinstance(first["id"], int)
    assert isinstance(first["milvus_id"], int)
    assert first["file_path"] == "pictures/a/one.png"
    assert (await client.get(first["file_relative_url"])).content == picture(1)
    assert first["file_url"] == "http://localhost" + first["file_relative_url"]


async def test_sample_file_pages_by_object(client: httpx.AsyncClient, library: Library) -> None:
    """`offset` and `limit` count objects, not contents."""
    for n in range(3):
        await library.add(f"same{n}.png", picture(1))
        await library.add(f"other{n}.png", picture(2 + n))
    whole = (await client.post("/sample/file", files={"file": picture(1)})).json()["data"]
    pages = []
    for offset in (0, 2, 4):
        form = {"offset": str(offset), "limit": "2"}
        pages += (await client.post("/sample/file", files={"file": picture(1)}, data=form)).json()["data"]
    assert pages == whole
    assert len(whole) == 6


async def test_list_count_and_get(client: httpx.AsyncClient, library: Library) -> None:
    """Indexed images are listed newest first with their total, counted, and found by external id or MD5."""
    for n in range(3):
        await library.add(f"{n}.png", picture(n), external_id=f"uuid/ü {n}" if n else None)
    await library.add("p.png", picture(9), state=ContentState.PENDING)
    page = (await client.get("/meta/image?offset=1&limit=1")).json()
    assert set(page) == {"succeed", "message", "data", "total"}
    assert (page["total"], [image["file_name"] for image in page["data"]]) == (3, ["1.png"])
    assert set(page["data"][0]) == IMAGE_MEMBERS
    count = (await client.get("/meta/image/count")).json()
    assert count == {"succeed": True, "message": count["message"], "image_count": 3, "vector_count": 3}
    by_uuid = (await client.get("/meta/image/uuid/%C3%BC%202")).json()
    assert by_uuid["data"]["file_name"] == "2.png"
    by_md5 = (await client.get(f"/meta/image/{digest_of(picture(0)).md5}")).json()
    assert by_md5["data"]["file_name"] == "0.png"


async def test_writes_are_refused(client: httpx.AsyncClient) -> None:
    """Its writes answer 405 and say that the bucket is the place."""
    for method, path in (("POST", "/meta/image/file"), ("DELETE", "/meta/image/x"), ("DELETE", "/meta/image/a/b")):
        body = assert_problem(await client.request(method, path), 405)
        assert "bucket" in body["detail"]
        assert body["succeed"] is False


async def test_can_be_switched_off(library: Library) -> None:
    """Without `api.predecessor_routes` there is nothing under its addresses."""
    app = create_app(Settings.model_validate({"api": {"predecessor_routes": False}}), library.ports)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert_problem(await client.get("/meta/image"), 404)
    assert not [path for path in app.openapi()["paths"] if path.startswith("/meta")]
