"""The picture itself and its thumbnail: bytes, ranges, caching, and nothing that a browser could run."""

from __future__ import annotations

import io

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from query_api.app import create_app
from query_api.errors import RangeNotSatisfiable
from query_api.http.byte_ranges import parse_range
from schemas.records import ContentState, ObjectRef
from schemas.settings import Settings
from tests.harness.library import BUCKET, Library, picture
from tests.unit.query_api.problems import assert_problem


async def test_file_is_the_object(client: httpx.AsyncClient, library: Library) -> None:
    """The file has the object's bytes and the type that they were found to have."""
    data = picture(1)
    image_id = await library.add('a/"b";ü\n.png', data)
    answer = await client.get(f"/v1/images/{image_id}/file")
    assert answer.content == data
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''%22b%22%3B%C3%BC%0A.png"
    saved = await client.get(f"/v1/images/{image_id}/file?download=true")
    assert saved.headers["content-disposition"].startswith("attachment;")


async def test_ranges(client: httpx.AsyncClient, library: Library) -> None:
    """One range is answered with 206 and exactly its bytes; one beyond the end with 416."""
    data = picture(1)
    image_id = await library.add("a.png", data)
    for header, expected in (("bytes=0-9", data[:10]), ("bytes=5-", data[5:]), ("bytes=-7", data[-7:])):
        answer = await client.get(f"/v1/images/{image_id}/file", headers={"Range": header})
        assert (answer.status_code, answer.content) == (206, expected)
        assert answer.headers["content-range"].endswith(f"/{len(data)}")
    answer = await client.get(f"/v1/images/{image_id}/file", headers={"Range": f"bytes={len(data)}-"})
    assert_problem(answer, 416)
    assert answer.headers["content-range"] == f"bytes */{len(data)}"


@pytest.mark.parametrize(
    "header", ["", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=0-1,4-5", "items=0-1", "bytes=²-"]
)
def test_odd_ranges_mean_the_whole_file(header: str) -> None:
    """What is no single valid range is ignored, as RFC 9110 says."""
    assert parse_range(header, 100) is None


def test_range_of_an_empty_file() -> None:
    """Nothing can be asked of an empty file."""
    with pytest.raises(RangeNotSatisfiable):
        parse_range("bytes=0-0", 0)


async def test_conditional_requests(client: httpx.AsyncClient, library: Library) -> None:
    """A current copy is answered with 304; If-Range with an outdated tag gives the whole file."""
    image_id = await library.add("a.png", picture(1))
    path = f"/v1/images/{image_id}/file"
    tag = (await client.get(path)).headers["etag"]
    for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        assert (await client.get(path, headers={"If-None-Match": given})).status_code == 304
    assert (await client.get(path, headers={"Range": "bytes=0-1", "If-Range": tag})).status_code == 206
    assert (await client.get(path, headers={"Range": "bytes=0-1", "If-Range": '"old"'})).status_code == 200


async def test_head_has_the_headers_only(client: httpx.AsyncClient, library: Library) -> None:
    """HEAD answers like GET, without the bytes."""
    data = picture(1)
    image_id = await library.add("a.png", data)
    answer = await client.head(f"/v1/images/{image_id}/file")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", str(len(data)))
    assert (await client.head(f"/v1/images/{image_id}/thumbnail")).status_code == 200


async def test_rejected_bytes_are_only_saved(client: httpx.AsyncClient, library: Library) -> None:
    """Bytes that are no picture are of no type and saved, never shown: nothing in them can run in our origin."""
    html = b"<script>alert(1)</script>"
    image_id = await library.add("x.html", html, state=ContentState.REJECTED, reason="not_an_image")
    answer = await client.get(f"/v1/images/{image_id}/file")
    assert answer.content == html
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_removed_object_is_a_404(client: httpx.AsyncClient, library: Library) -> None:
    """An object that is gone from the bucket, before the catalog knows, is not found."""
    image_id = await library.add("a.png", picture(1))
    await library.objects.delete(ObjectRef(BUCKET, "a.png"))
    for what in ("file", "thumbnail"):
        assert_problem(await client.get(f"/v1/images/{image_id}/{what}"), 404)


async def test_redirect_to_a_link_that_expires(library: Library) -> None:
    """With `file_delivery: redirect` the file is a link of the object store where it can make one."""
    settings = Settings.model_validate({"api": {"file_delivery": "redirect"}})
    app: FastAPI = create_app(settings, library.ports)
    image_id = await library.add("a.png", picture(1))

    async def link(ref: ObjectRef, *, expires_s: int, content_type: str) -> str:
        return f"http://objects/{ref}?expires={expires_s}&type={content_type}"

    library.objects.presigned_url = link  # type: ignore[method-assign]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.get(f"/v1/images/{image_id}/file")
    assert answer.status_code == 307
    assert answer.headers["location"] == "http://objects/pictures/a.png?expires=300&type=image/png"


async def test_thumbnail_is_a_small_jpeg(client: httpx.AsyncClient, library: Library) -> None:
    """A thumbnail is a JPEG whose longer side has the size asked for."""
    image_id = await library.add("a.png", picture(1, width=1000, height=500))
    for size in (160, 320, 640):
        answer = await client.get(f"/v1/images/{image_id}/thumbnail?size={size}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(answer.content)).size == (size, size // 2)


async def test_thumbnail_is_kept_for_ever_under_its_version(client: httpx.AsyncClient, library: Library) -> None:
    """The address with the version may be cached for ever; without it, or with an old one, it is asked for again."""
    image_id = await library.add("a.png", picture(1))
    url = (await client.get(f"/v1/images/{image_id}")).json()["thumbnail_url"]
    answer = await client.get(url)
    assert "immutable" in answer.headers["cache-control"]
    tag = answer.headers["etag"]
    assert (await client.get(url, headers={"If-None-Match": tag})).status_code == 304
    await library.add("a.png", picture(2))
    answer = await client.get(url)
    assert "immutable" not in answer.headers["cache-control"]
    assert answer.headers["etag"] != tag


async def test_thumbnail_of_an_overwritten_object_is_not_kept_as_the_old_one(
    client: httpx.AsyncClient, library: Library
) -> None:
    """Between an overwrite and its indexing the new picture is shown, and not cached as the old version."""
    image_id = await library.add("a.png", picture(1))
    url = (await client.get(f"/v1/images/{image_id}")).json()["thumbnail_url"]
    await library.objects.put(ObjectRef(BUCKET, "a.png"), picture(2), content_type="image/png")
    answer = await client.get(url)
    assert answer.status_code == 200
    assert "immutable" not in answer.headers["cache-control"]


async def test_thumbnail_cache_is_bounded_and_used(library: Library) -> None:
    """Thumbnails come from memory the second time, and memory never holds more than its bound."""
    settings = Settings.model_validate({"api": {"thumbnail_cache_bytes": 6000}})
    app = create_app(settings, library.ports)
    ids = [await library.add(f"{n}.png", picture(n)) for n in range(12)]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for image_id in [*ids, ids[-1]]:
            assert (await client.get(f"/v1/images/{image_id}/thumbnail")).status_code == 200
    assert 0 < app.state.services.thumbnails.nbytes <= 6000
    hits = app.state.services.metrics.registry.get_sample_value("twinlens_api_thumbnail_cache_total", {"result": "hit"})
    assert hits == 1


async def test_no_thumbnail_of_what_is_no_picture(client: httpx.AsyncClient, library: Library) -> None:
    """A rejected or unreadable picture has no thumbnail."""
    rejected = await library.add("r.png", b"text", state=ContentState.REJECTED, reason="not_an_image")
    pending = await library.add("p.png", b"more text", state=ContentState.PENDING)
    for image_id in (rejected, pending):
        assert_problem(await client.get(f"/v1/images/{image_id}/thumbnail"), 404)
