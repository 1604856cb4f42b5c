"""Searches by views of the contents: what they find, and what they say of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from imaging.limits import DecodeLimits
from imaging.views import decode_content
from query_api.app import create_app
from query_api.search.live_model import FixedModel, Model
from query_api.sharing.gathered import GatheredVectors
from schemas.settings import Settings
from stores.vectors.ports import VectorEntry
from stores.vectors.views import VectorsWithViews
from tests.harness.kinds import png, scene
from tests.harness.library import BUCKET, COPY_THRESHOLD, Library

SCENES = 6


@pytest.fixture
async def viewed(library: Library, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service over scenes that were indexed with views."""
    embedder = library.embedder
    views = VectorsWithViews(library.vectors, "quarters")
    await views.ensure_collection(model_name=embedder.model_name, dimension=embedder.dimension)
    for number in range(SCENES):
        data = png(scene(number))
        before = set(library.vectors.present())
        await library.add(f"{number}.png", data)
        [vector_id] = set(library.vectors.present()) - before
        image = decode_content(data, DecodeLimits(), embedder.pixel_spec, "quarters")
        whole, *others = embedder.embed([image.pixels, *image.views])
        await views.upsert([VectorEntry(vector_id, BUCKET, whole, others)])
    model = FixedModel(Model(embedder, COPY_THRESHOLD, GatheredVectors(views)))
    app = create_app(settings, replace(library.ports, vectors=views, model=model))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def quarter(number: int) -> bytes:
    """What the last view of a scene shows."""
    picture = scene(number)
    left, top = round(0.4 * picture.width), round(0.4 * picture.height)
    return png(picture.crop((left, top, picture.width, picture.height)))


async def search(client: httpx.AsyncClient, data: bytes, query: str = "limit=10") -> list[dict[str, Any]]:
    """The hits."""
    answer = await client.post(f"/v1/search?{query}", files={"file": data})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


async def test_a_part_is_found_by_its_view_and_is_no_copy_by_that(
    viewed: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    """The view is as near as can be; the threshold is for wholes, so that it makes a likely copy."""
    first, *others = await search(viewed, quarter(2))
    assert first["image"]["key"] == "2.png"
    assert first["score"] > 95
    assert (first["verdict"], first["likely_copy"]) == ("similar", True)
    assert len(others) == SCENES - 1
    [by_whole] = [hit for hit in await search(client, quarter(2)) if hit["image"]["key"] == "2.png"]
    assert by_whole["score"] < COPY_THRESHOLD


async def test_a_copy_of_the_whole_is_one_as_ever(viewed: httpx.AsyncClient) -> None:
    """Its whole is near enough, whatever its views are."""
    picture = scene(3).resize((320, 240))
    first, *_ = await search(viewed, png(picture))
    assert (first["image"]["key"], first["verdict"]) == ("3.png", "copy")


async def test_local_features_make_a_copy_of_a_part(viewed: httpx.AsyncClient) -> None:
    """Verified, what was found by a view is what it is."""
    first, *_ = await search(viewed, quarter(2), "verify=true")
    assert (first["image"]["key"], first["verdict"], first["verified"]["is_copy"]) == ("2.png", "copy", True)


async def test_pages_are_cut_from_one_ranking(viewed: httpx.AsyncClient) -> None:
    """Each content is on one page."""
    whole = [hit["image"]["key"] for hit in await search(viewed, quarter(1))]
    pages = [await search(viewed, quarter(1), f"limit=2&offset={offset}") for offset in (0, 2, 4)]
    assert [hit["image"]["key"] for page in pages for hit in page] == whole
    assert len(whole) == SCENES
