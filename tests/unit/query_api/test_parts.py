"""Searching for parts of a picture: without its frame always, and in places or tiles with ``parts=true``."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image, ImageOps

from tests.harness.library import Library, picture


def opened(data: bytes) -> Image.Image:
    """The picture in a file."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def file_of(image: Image.Image) -> bytes:
    """A PNG."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def in_the_corner(small: bytes, large: bytes) -> bytes:
    """The one picture in the lower right corner of the other, with two fifths of each side."""
    whole = opened(large).resize((240, 180))
    whole.paste(opened(small), (144, 108))
    return file_of(whole)


async def test_a_border_is_searched_without(client: httpx.AsyncClient, library: Library) -> None:
    """A picture within a wide border is found as if it had none, and the answer says which part it was found by."""
    await library.add("original.png", picture(1))
    await library.add("other.png", picture(2))
    bordered = file_of(ImageOps.expand(opened(picture(1)), 48, "black"))
    first, second = (await client.post("/v1/search", files={"file": bordered})).json()["results"]
    assert (first["image"]["key"], first["verdict"]) == ("original.png", "copy")
    assert first["part"] == pytest.approx([48 / 192, 48 / 168, 144 / 192, 120 / 168], abs=0.02)
    assert second["score"] < first["score"]


async def test_a_picture_in_a_picture_is_found_by_its_part(client: httpx.AsyncClient, library: Library) -> None:
    """What fills a corner of a picture is found by that part, if parts are asked for, and otherwise isn't."""
    await library.add("small.png", picture(1))
    await library.add("other.png", picture(2))
    query = {"file": in_the_corner(picture(1), picture(3))}
    whole = (await client.post("/v1/search", files=query)).json()["results"]
    assert all(hit["verdict"] == "similar" and hit["part"] is None for hit in whole)
    best = (await client.post("/v1/search?parts=true", files=query)).json()["results"][0]
    assert (best["image"]["key"], best["verdict"], best["part"]) == (
        "small.png",
        "copy",
        pytest.approx([0.6, 0.6, 1, 1]),
    )


async def test_every_hit_comes_once(client: httpx.AsyncClient, library: Library) -> None:
    """A picture that several parts are near to is one hit, under its best score; a hit by the whole has no part."""
    ids = {await library.add(f"{seed}.png", picture(seed)) for seed in range(1, 8)}
    pages = [
        (await client.post(f"/v1/search?parts=true&limit=3&offset={offset}", files={"file": picture(1)})).json()
        for offset in (0, 3, 6)
    ]
    hits = [hit for page in pages for hit in page["results"]]
    assert {hit["image"]["id"] for hit in hits} == ids
    assert len(hits) == len(ids)
    assert (hits[0]["verdict"], hits[0]["part"]) == ("exact", None)
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)


async def test_low_scores_are_left_out_of_parts_too(client: httpx.AsyncClient, library: Library) -> None:
    """`min_score` holds for the best part: above that of all others, one hit is left."""
    await library.add("small.png", picture(1))
    await library.add("other.png", picture(2))
    query = {"file": in_the_corner(picture(1), picture(3))}
    answer = await client.post("/v1/search?parts=true&min_score=95", files=query)
    assert [hit["image"]["key"] for hit in answer.json()["results"]] == ["small.png"]


async def test_parts_of_as_many_pictures_as_are_allowed(client: httpx.AsyncClient, library: Library) -> None:
    """Eight pictures, seen in 136 views, are more than may wait to be embedded, and are searched all the same."""
    await library.add("a.png", picture(1))
    answer = await client.post("/v1/search?parts=true", files=[("file", picture(seed)) for seed in range(8)])
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["queries"]) == 8
