"""Pictures that are scaled down before they are sent, and remembered so that they are sent once."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from query_api.app import create_app
from query_api.pictures.remembered import REMEMBERED_S, Remembered, RememberedUploads
from query_api.pictures.uploaded import Upload
from schemas.settings import Settings
from tests.harness.library import Library, picture
from tests.unit.query_api.problems import assert_problem

PNG = {"Content-Type": "image/png"}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def _searched(client: httpx.AsyncClient, data: bytes, **params: Any) -> dict[str, Any]:
    answer = await client.post("/v1/search", content=data, headers=PNG, params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_smaller_version_finds_its_file(client: httpx.AsyncClient, library: Library) -> None:
    """With the digest of the file that it was made of, a smaller picture's file is `exact`; without it, a copy."""
    whole, small = picture(1), picture(1, width=48, height=36)
    await library.add("a.png", whole)
    found = await _searched(client, small, original_sha256=_sha256(whole))
    assert [hit["verdict"] for hit in found["results"]] == ["exact"]
    assert found["queries"][0]["sha256"] == _sha256(small)
    assert found["queries"][0]["original_sha256"] == _sha256(whole)
    assert (await _searched(client, small))["results"][0]["verdict"] == "copy"
    alone = await _searched(client, small, original_sha256=_sha256(whole), exclude_exact=True)
    assert alone["results"] == []


async def test_a_false_digest_deceives_nobody_else(client: httpx.AsyncClient, library: Library) -> None:
    """A client that claims another picture's digest is told so of its own search alone: what is kept of pictures by
    their digest, for others, is kept under the digest of the bytes.
    """
    await library.add("victim.png", picture(1, width=200, height=160))
    await library.add("other.png", picture(2, width=200, height=160))
    victim = _sha256(picture(1, width=200, height=160))
    lie = await _searched(client, picture(3, width=200, height=160), original_sha256=victim, verify=True, remember=True)
    assert [hit["verdict"] for hit in lie["results"] if hit["image"]["key"] == "victim.png"] == ["exact"]
    named = {"queries": [{"upload": lie["queries"][0]["upload"]}]}
    await client.post("/v1/search", json=named, params={"verify": True})
    honest = await _searched(client, picture(1, width=200, height=160), verify=True)
    assert honest["queries"][0]["original_sha256"] is None
    assert honest["results"][0]["image"]["key"] == "victim.png"
    smaller = ("a.png", picture(1, width=100, height=80))
    same = (None, honest["results"][0]["image"]["id"])
    compared = await client.post("/v1/compare", files={"a": smaller, "b": same})
    assert compared.json()["verdict"] == "copy"


async def test_each_of_several_pictures_has_its_own_file(client: httpx.AsyncClient, library: Library) -> None:
    """Digests go with the pictures in order; too few, too many, or any beside what is named, are refused."""
    for seed in (1, 2):
        await library.add(f"{seed}.png", picture(seed))
    files = [("file", (f"{seed}.png", picture(seed, width=48, height=36))) for seed in (1, 2)]
    digests = [_sha256(picture(seed)) for seed in (1, 2)]
    answer = await client.post("/v1/search", files=files, params={"original_sha256": digests})
    keys = [
        [hit["image"]["key"] for hit in query["results"] if hit["verdict"] == "exact"]
        for query in answer.json()["queries"]
    ]
    assert keys == [["1.png"], ["2.png"]]
    for wrong in (digests[:1], [*digests, digests[0]], ["0" * 63, digests[0]]):
        assert_problem(await client.post("/v1/search", files=files, params={"original_sha256": wrong}), 422)
    named = {"queries": [{"bucket": "pictures", "key": "1.png"}]}
    assert_problem(await client.post("/v1/search", json=named, params={"original_sha256": digests[:1]}), 422)


async def test_a_picture_is_sent_once(client: httpx.AsyncClient, library: Library) -> None:
    """A picture that is remembered is searched for again, with other filters, and compared, by its name."""
    ids = [await library.add(key, picture(seed)) for key, seed in (("a/1.png", 1), ("b/2.png", 2))]
    first = await _searched(client, picture(1, width=48, height=36), original_sha256=_sha256(picture(1)), remember=True)
    name = first["queries"][0]["upload"]
    answer = await client.post("/v1/search?prefix=b/", json={"queries": [{"upload": name}]})
    assert [hit["image"]["key"] for hit in answer.json()["results"]] == ["b/2.png"]
    answer = await client.post("/v1/search", json={"queries": [{"upload": name}]})
    assert answer.json()["results"] == first["results"]
    assert answer.json()["queries"][0]["upload"] == name
    compared = await client.post("/v1/compare", files={"a": (None, name), "b": (None, ids[0])})
    assert compared.json()["verdict"] == "copy"
    assert (await _searched(client, picture(1)))["queries"][0]["upload"] is None


async def test_a_forgotten_upload_is_said_to_be_one(client: httpx.AsyncClient, library: Library) -> None:
    """A name that leads nowhere, by a search or a comparison, has a code of its own, so that the client sends again."""
    image = await library.add("a.png", picture(1))
    for answer in (
        await client.post("/v1/search", json={"queries": [{"upload": "u-nothing"}]}),
        await client.post("/v1/compare", files={"a": (None, "u-nothing"), "b": (None, image)}),
    ):
        assert assert_problem(answer, 410)["code"] == "upload_forgotten"


def test_what_is_remembered_is_bounded() -> None:
    """The oldest go where there is no room, each goes in time, and what is too large for the memory is not kept."""
    now = [0.0]
    kept = RememberedUploads(max_bytes=100, clock=lambda: now[0])
    names = [kept.keep(Remembered(Upload(None, bytes(40)))) for _ in range(3)]
    assert all(name is not None for name in names)
    assert len(set(names)) == 3
    with pytest.raises(Exception, match="not remembered"):
        kept.get(str(names[0]))
    assert kept.get(str(names[2])).upload.data == bytes(40)
    now[0] = REMEMBERED_S + 1
    with pytest.raises(Exception, match="not remembered"):
        kept.get(str(names[2]))
    assert kept.keep(Remembered(Upload(None, bytes(101)))) is None


async def test_the_memory_is_a_setting(library: Library) -> None:
    """Where a picture does not fit, it has no name, and the search is answered all the same."""
    app: FastAPI = create_app(Settings.model_validate({"api": {"remembered_bytes": 10}}), library.ports)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await _searched(client, picture(1), remember=True))["queries"][0]["upload"] is None


async def test_a_preview_shows_what_the_service_sees(client: httpx.AsyncClient) -> None:
    """Of a TIFF, which no browser shows, a small JPEG comes with the answer if it is asked for."""
    tiff = picture(1, kind="TIFF", width=900, height=600)
    found = await _searched(client, tiff, preview=True)
    kind, _, data = found["queries"][0]["preview"].partition(";base64,")
    assert kind == "data:image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (640, 427)
    assert (await _searched(client, tiff))["queries"][0]["preview"] is None
