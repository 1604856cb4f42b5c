"""Hits that mean nothing are told from those that do, and pictures that can't be found yet are counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from query_api.app import create_app
from query_api.search.live_model import FixedModel, Model
from query_api.sharing.gathered import GatheredVectors
from schemas.records import ContentState
from schemas.settings import Settings
from tests.harness.library import COPY_THRESHOLD, Library, picture

FLOOR = 80.0
PNG = {"Content-Type": "image/png"}


@pytest.fixture
async def client(library: Library) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose model has a floor."""
    settings = Settings.model_validate({"objects": {"buckets": ["pictures", "other"]}})
    model = FixedModel(Model(library.embedder, COPY_THRESHOLD, GatheredVectors(library.vectors), FLOOR))
    transport = httpx.ASGITransport(create_app(settings, replace(library.ports, model=model)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def _found(client: httpx.AsyncClient, data: bytes, **params: Any) -> dict[str, Any]:
    answer = await client.post("/v1/search", content=data, headers=PNG, params=params)
    found: dict[str, Any] = answer.json()
    return found


async def test_hits_below_the_floor_are_weak(client: httpx.AsyncClient, library: Library) -> None:
    """Of all hits, those that are similar with a score below the model's floor are weak, by every way to search."""
    images = [await library.add(f"{seed}.png", picture(seed)) for seed in range(12)]
    for found in (
        await _found(client, picture(3, width=48, height=36)),
        (await client.get(f"/v1/images/{images[3]}/similar")).json(),
    ):
        assert found["floor"] == FLOOR
        assert found["results"]
        for hit in found["results"]:
            assert hit["weak"] is (hit["verdict"] == "similar" and not hit["likely_copy"] and hit["score"] < FLOOR)
        assert any(hit["weak"] for hit in found["results"])
    several = [("file", (f"{seed}.png", picture(seed, width=48, height=36))) for seed in (1, 2)]
    answer = await client.post("/v1/search", files=several)
    assert any(hit["weak"] for query in answer.json()["queries"] for hit in query["results"])


async def test_pictures_that_wait_are_counted(client: httpx.AsyncClient, library: Library) -> None:
    """Of the bucket that is searched, or of all."""
    await library.add("a.png", picture(1))
    for number in (2, 3):
        await library.add(f"{number}.png", picture(number), state=ContentState.PENDING, with_vector=False)
    await library.add("4.png", picture(4), bucket="other", state=ContentState.PENDING, with_vector=False)
    assert (await _found(client, picture(1)))["pending"] == 3
    assert (await _found(client, picture(1), bucket="other"))["pending"] == 1
