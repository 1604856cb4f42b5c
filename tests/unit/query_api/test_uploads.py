"""How pictures come in with a request: forms, bodies of any type, and what is shown of them."""

from __future__ import annotations

import io

import httpx
import pillow_heif
import pytest
from PIL import Image

from tests.harness.library import Library, picture
from tests.unit.query_api.problems import assert_problem

pillow_heif.register_heif_opener()


@pytest.mark.parametrize("kind", ["image/png", "image/heic", "application/octet-stream", "binary/octet-stream", None])
async def test_the_bytes_decide_whatever_the_body_is_called(
    client: httpx.AsyncClient, library: Library, kind: str | None
) -> None:
    """A picture is one under any image type, as bytes of no type, and without a type."""
    await library.add("a.png", picture(1))
    headers = {"Content-Type": kind} if kind else {}
    answer = await client.post("/v1/search", content=picture(1), headers=headers)
    assert [hit["verdict"] for hit in answer.json()["results"]] == ["exact"]


@pytest.mark.parametrize("count", [1, 20])
async def test_a_part_without_a_filename_is_told(client: httpx.AsyncClient, count: int) -> None:
    """A part that looks like a text field is refused with what it lacks, small or large."""
    answer = await client.post("/v1/search", files={"file": (None, picture(1, width=400, height=400) * count)})
    assert "filename" in assert_problem(answer, 422)["detail"]


@pytest.mark.parametrize("as_form", [True, False])
@pytest.mark.parametrize("kind", ["HEIF", "TIFF", "PNG"])
async def test_an_uploaded_picture_is_shown_as_a_jpeg(client: httpx.AsyncClient, kind: str, *, as_form: bool) -> None:
    """Pictures that a browser can't show come back as a small JPEG, sent as a form or as the body, and are not kept."""
    data = picture(1, width=900, height=600, kind=kind)
    sent = {"files": {"file": ("a", data)}} if as_form else {"content": data}
    answer = await client.post("/v1/thumbnail", params={"size": "160"}, **sent)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.headers["cache-control"] == "private, no-store"
    assert Image.open(io.BytesIO(answer.content)).size == (160, 107)


async def test_what_is_no_picture_has_no_thumbnail(client: httpx.AsyncClient) -> None:
    """Bytes that are no picture are refused as in a search; so are other types, sizes and no bytes."""
    assert assert_problem(await client.post("/v1/thumbnail", content=b"text"), 422)["reason"] == "not_an_image"
    assert_problem(await client.post("/v1/thumbnail", content=b""), 422)
    assert_problem(await client.post("/v1/thumbnail", json={"queries": []}), 415)
    assert_problem(await client.post("/v1/thumbnail", params={"size": "4000"}, content=picture(1)), 422)
