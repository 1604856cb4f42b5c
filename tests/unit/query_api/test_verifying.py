"""Verified matches: which hits are copies is for local features to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image, ImageOps

from query_api.app import create_app
from schemas.records import ObjectRef
from schemas.settings import Settings
from stores.objects.memory import MemoryObjects
from tests.harness.kinds import ALIKE, in_a_phone_screenshot, jpeg, png, scene
from tests.harness.library import BUCKET, Library


def _mirrored_grey(image: Image.Image) -> bytes:
    return jpeg(ImageOps.mirror(ImageOps.grayscale(image).convert("RGB")))


async def _search(client: httpx.AsyncClient, data: bytes, query: str = "verify=true") -> list[dict[str, Any]]:
    answer = await client.post(f"/v1/search?{query}", files={"file": data})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


async def test_a_copy_is_verified_with_its_place_and_its_changes(client: httpx.AsyncClient, library: Library) -> None:
    """A mirrored grey copy is told to be one, whatever its score, with what was done to it."""
    for number in range(3):
        await library.add(f"{number}.png", png(scene(number)))
    hits = await _search(client, _mirrored_grey(scene(1)))
    [copy] = [hit for hit in hits if hit["verdict"] == "copy"]
    assert copy["image"]["key"] == "1.png"
    verified = copy["verified"]
    assert (verified["is_copy"], verified["mirrored"], copy["unverified"]) == (True, True, None)
    assert {change["kind"] for change in verified["changes"]} == {"mirrored", "grey"}
    assert verified["outline"][0] == pytest.approx([1, 0], abs=0.02)
    assert verified["query_overlap"] == pytest.approx(1, abs=0.03)
    assert len(verified["transform"]) == 9


async def test_outlines_lead_both_ways(client: httpx.AsyncClient, library: Library) -> None:
    """The outline of a crop is where it was cut from, and that of the whole picture lies outside the crop."""
    whole = scene(4)
    await library.add("whole.png", png(whole))
    crop = whole.crop((120, 90, 360, 270))
    [hit] = await _search(client, png(crop))
    corners = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
    outside = [(-0.5, -0.5), (1.5, -0.5), (1.5, 1.5), (-0.5, 1.5)]
    for outline, expected in ((hit["verified"]["outline"], corners), (hit["verified"]["other_outline"], outside)):
        assert [tuple(point) for point in outline] == [pytest.approx(corner, abs=0.03) for corner in expected]
    assert hit["verified"]["other_overlap"] == pytest.approx(0.25, abs=0.03)
    [cropped] = hit["verified"]["changes"]
    assert (cropped["kind"], cropped["value"]) == ("cropped", pytest.approx(0.25, abs=0.03))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALIKE)
async def test_what_only_looks_alike_is_no_copy(client: httpx.AsyncClient, library: Library, kind: str) -> None:
    """Other pages of text, chats and codes score like copies; verified, none is one, and none is likely."""
    for number in range(8):
        await library.add(f"{number}.png", png(ALIKE[kind](number)))
    query = png(ALIKE[kind](100))
    assert any(hit["verdict"] == "copy" for hit in await _search(client, query, "verify=false"))
    hits = await _search(client, query)
    assert [(hit["verdict"], hit["likely_copy"]) for hit in hits] == [("similar", False)] * 8
    assert [hit["unverified"] for hit in hits] == [None] * 5 + ["not_among_best"] * 3


async def test_a_picture_within_a_phone_screenshot_is_a_copy(client: httpx.AsyncClient, library: Library) -> None:
    """And the part of the screenshot that it takes is told."""
    await library.add("original.jpg", jpeg(scene(5)))
    [hit] = await _search(client, png(in_a_phone_screenshot(scene(5))))
    assert hit["verdict"] == "copy"
    assert hit["verified"]["query_overlap"] == pytest.approx(405 / 1110, abs=0.03)
    assert "inset" in {change["kind"] for change in hit["verified"]["changes"]}


async def test_the_default_is_the_settings(library: Library) -> None:
    """Without `verify`, nothing is verified unless `api.verify` says so; the answer says which."""
    await library.add("a.png", png(scene(1)))
    for default, expected in ((False, "not_asked"), (True, None)):
        settings = Settings.model_validate({"api": {"verify": default}})
        transport = httpx.ASGITransport(create_app(settings, library.ports))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            [hit] = await _search(client, jpeg(scene(1)), "limit=1")
            assert hit["unverified"] == expected


async def test_the_same_bytes_need_no_look(client: httpx.AsyncClient, library: Library) -> None:
    """An exact hit is certain by its digest: its object is not read."""
    await library.add("a.png", png(scene(1)))
    library.objects.outage = True
    [hit] = await _search(client, png(scene(1)))
    assert (hit["verdict"], hit["verified"], hit["unverified"]) == ("exact", None, "same_bytes")


def _gone(objects: MemoryObjects) -> None:
    objects.delete_now(ObjectRef(BUCKET, "a.png"))


def _overwritten(objects: MemoryObjects) -> None:
    objects.put_now(ObjectRef(BUCKET, "a.png"), png(scene(9)))


def _away(objects: MemoryObjects) -> None:
    objects.outage = True


@pytest.mark.parametrize(
    ("happens", "reason"),
    [(_gone, "gone"), (_overwritten, "gone"), (_away, "unreadable")],
    ids=["gone", "replaced", "away"],
)
async def test_what_can_not_be_verified_says_why(
    client: httpx.AsyncClient, library: Library, happens: Callable[[MemoryObjects], None], reason: str
) -> None:
    """A hit whose object is gone, replaced or out of reach is answered all the same, as a likely copy by its score."""
    await library.add("a.png", png(scene(1)))
    happens(library.objects)
    [hit] = await _search(client, jpeg(scene(1)))
    assert (hit["verdict"], hit["likely_copy"], hit["verified"], hit["unverified"]) == ("similar", True, None, reason)


async def test_featureless_pictures_are_no_copies(client: httpx.AsyncClient, library: Library) -> None:
    """Of one flat colour, only the same bytes are the same picture."""
    await library.add("flat.png", png(Image.new("RGB", (300, 200), (40, 90, 160))))
    [hit] = await _search(client, jpeg(Image.new("RGB", (300, 200), (40, 90, 160))))
    assert (hit["verdict"], hit["likely_copy"], hit["unverified"]) == ("similar", False, "featureless")


async def test_a_search_by_vector_has_no_picture_to_verify(client: httpx.AsyncClient, library: Library) -> None:
    """Its hits say so."""
    await library.add("a.png", png(scene(1)))
    [entry] = library.vectors.present().values()
    answer = await client.post(
        "/v1/search?verify=true", json={"queries": [{"vector": [float(each) for each in entry.vector]}]}
    )
    assert [hit["unverified"] for hit in answer.json()["results"]] == ["no_picture"]


async def test_too_little_time_is_no_failure(library: Library) -> None:
    """What does not come within `api.verify_timeout_s` is answered unverified."""
    await library.add("a.png", png(scene(1)))
    settings = Settings.model_validate({"api": {"verify_timeout_s": 1e-9}})
    transport = httpx.ASGITransport(create_app(settings, library.ports))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        [hit] = await _search(client, jpeg(scene(1)))
    assert hit["unverified"] == "no_time"


async def test_the_query_is_looked_at_while_it_is_searched_for(
    client: httpx.AsyncClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search need not be over for that: here it waits for the query's object to be read."""
    image_id = await library.add("a.png", png(scene(1)))
    await library.add("copy.jpg", jpeg(scene(1)))
    read, search, was_read = library.objects.read, library.vectors.search, asyncio.Event()

    async def noted_read(*arguments: Any, **named: Any) -> Any:
        was_read.set()
        return await read(*arguments, **named)

    async def late_search(*arguments: Any, **named: Any) -> Any:
        async with asyncio.timeout(5):
            await was_read.wait()
        return await search(*arguments, **named)

    monkeypatch.setattr(library.objects, "read", noted_read)
    monkeypatch.setattr(library.vectors, "search", late_search)
    answer = await client.get(f"/v1/images/{image_id}/similar?verify=true")
    assert [hit["verdict"] for hit in answer.json()["results"]] == ["copy"]


async def test_features_are_kept_by_digest(client: httpx.AsyncClient, library: Library) -> None:
    """A second search reads no object again."""
    await library.add("a.png", png(scene(1)))
    await _search(client, jpeg(scene(1)))
    library.objects.outage = True
    [hit] = await _search(client, jpeg(scene(1), 70))
    assert hit["verdict"] == "copy"


async def test_what_a_quick_look_leaves_open_is_looked_at_closely(
    client: httpx.AsyncClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy's object is read once; where none is a copy, all are read again, to be looked at closely."""
    read, refs = library.objects.read, []

    async def noted_read(ref: ObjectRef, *arguments: Any, **named: Any) -> Any:
        refs.append(ref.key)
        return await read(ref, *arguments, **named)

    for number in range(2):
        await library.add(f"{number}.jpg", jpeg(ALIKE["text page"](number)))
    monkeypatch.setattr(library.objects, "read", noted_read)
    await _search(client, jpeg(ALIKE["text page"](0), 70))
    assert sorted(refs) == ["0.jpg", "1.jpg"]
    refs.clear()
    hits = await _search(client, jpeg(ALIKE["text page"](7)))
    assert [hit["verdict"] for hit in hits] == ["similar", "similar"]
    assert sorted(refs) == ["0.jpg", "1.jpg"]
    refs.clear()
    await _search(client, jpeg(ALIKE["text page"](8)))
    assert refs == []


async def test_similar_images_are_verified_by_their_objects(client: httpx.AsyncClient, library: Library) -> None:
    """A search by an indexed image compares objects, both read for it."""
    image_id = await library.add("a.png", png(scene(1)))
    await library.add("copy.jpg", _mirrored_grey(scene(1)))
    answer = (await client.get(f"/v1/images/{image_id}/similar?verify=true")).json()
    assert [hit["verdict"] for hit in answer["results"]] == ["copy"]
    assert answer["results"][0]["verified"]["mirrored"]


async def test_each_page_says_the_same_of_a_hit(client: httpx.AsyncClient, library: Library) -> None:
    """Verdicts hang on the ranking, not on how it is cut into pages."""
    for number in range(9):
        await library.add(f"{number}.jpg", jpeg(scene(1), 20 + 8 * number))
    query = png(scene(1))
    whole = await _search(client, query, "verify=true&limit=9")
    cut = [hit for offset in (0, 4, 8) for hit in await _search(client, query, f"verify=true&limit=4&offset={offset}")]
    assert [(hit["image"]["id"], hit["verdict"]) for hit in cut] == [
        (hit["image"]["id"], hit["verdict"]) for hit in whole
    ]
    assert [hit["verdict"] for hit in whole] == ["copy"] * 5 + ["similar"] * 4
    assert [hit["likely_copy"] for hit in whole] == [False] * 5 + [True] * 4


async def test_compare_verifies_both_sides(client: httpx.AsyncClient, library: Library) -> None:
    """Uploads and indexed images are compared by their features; the match leads from a to b."""
    image_id = await library.add("a.png", png(scene(1)))
    answer = await client.post("/v1/compare?verify=true", files={"a": _mirrored_grey(scene(1))}, data={"b": image_id})
    assert (answer.json()["verdict"], answer.json()["verified"]["mirrored"]) == ("copy", True)
    pages = {"a": png(ALIKE["text page"](1)), "b": png(ALIKE["text page"](2))}
    plain = (await client.post("/v1/compare", files=pages)).json()
    verified = (await client.post("/v1/compare?verify=true", files=pages)).json()
    assert (plain["verdict"], plain["unverified"]) == ("copy", "not_asked")
    assert (verified["verdict"], verified["likely_copy"], verified["verified"]["is_copy"]) == ("similar", False, False)
