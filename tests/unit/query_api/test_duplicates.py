"""Duplicates: exact groups, groups that look the same, pages of both."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from query_api.routes import duplicates as route
from query_api.search.duplicates import Group, near_groups
from stores.vectors.ports import Vector, VectorEntry
from tests.harness.kinds import ALIKE, jpeg, png
from tests.harness.library import BUCKET, Library, picture


async def _all_groups(client: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    token = ""
    while True:
        answer = await client.get(f"/v1/duplicates?{query}{token}")
        assert answer.status_code == 200, answer.text
        groups += answer.json()["results"]
        if answer.json()["next_page_token"] is None:
            return groups
        token = f"&page_token={answer.json()['next_page_token']}"


async def test_exact_groups(client: httpx.AsyncClient, library: Library) -> None:
    """Objects with the same bytes in one bucket are a group; the same bytes in another bucket are not in it."""
    for key in ("a.png", "b.png", "c.png"):
        await library.add(key, picture(1))
    await library.add("a.png", picture(1), bucket="other")
    await library.add("x.png", picture(2))
    await library.add("y.png", picture(2))
    await library.add("single.png", picture(3))
    for limit in (1, 20):
        groups = await _all_groups(client, f"limit={limit}")
        assert sorted((group["size"], [image["key"] for image in group["images"]]) for group in groups) == [
            (2, ["x.png", "y.png"]),
            (3, ["a.png", "b.png", "c.png"]),
        ]
    assert await _all_groups(client, "bucket=other") == []


async def test_removed_and_rejected_objects_are_no_duplicates(client: httpx.AsyncClient, library: Library) -> None:
    """A group needs two objects that exist."""
    await library.add("a.png", picture(1))
    await library.add("b.png", picture(1))
    await library.remove("b.png")
    assert await _all_groups(client, "") == []


def _beside(vector: Vector, angle: float, axis: int) -> Vector:
    """A unit vector at this angle (radians), towards an axis."""
    side = np.zeros_like(vector)
    side[axis] = 1
    side -= vector * (side @ vector)
    side /= np.linalg.norm(side)
    turned: Vector = (np.cos(angle) * vector + np.sin(angle) * side).astype(np.float32)
    return turned


async def _arranged(library: Library, vectors: dict[str, Vector]) -> None:
    """Index one picture per vector, under exactly that vector."""
    for seed, (key, vector) in enumerate(vectors.items()):
        await library.add(key, picture(seed))
        await library.vectors.upsert([VectorEntry(1001 + seed, BUCKET, vector)])


async def test_near_groups_hang_together_by_links(client: httpx.AsyncClient, library: Library) -> None:
    """A chain of look-alikes is one group, reported once with its weakest link, whatever the size of the pages."""
    base = np.zeros(512, np.float32)
    base[0] = 1
    far = np.zeros(512, np.float32)
    far[100] = 1
    chain = [base, _beside(base, 0.3, 1)]
    chain.append(_beside(chain[1], 0.3, 2))
    await _arranged(
        library, {"0": chain[2], "1": far, "2": base, "3": chain[1], "4": _beside(far, 0.1, 101), "5": -far}
    )
    for limit in (1, 2, 20):
        groups = await _all_groups(client, f"kind=near&limit={limit}")
        assert [sorted(image["key"] for image in group["images"]) for group in groups] == [["0", "2", "3"], ["1", "4"]]
        assert groups[0]["score"] == pytest.approx(100 * np.cos(0.3) ** 2, abs=0.01)
    assert len(await _all_groups(client, "kind=near&min_score=99")) == 1


@pytest.mark.slow
async def test_near_groups_do_not_depend_on_the_page_size_of_the_walk(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the catalog is cut into pages, the same groups come out, and each pair once."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(12, 512)).astype(np.float32)
    vectors = {}
    for n in range(60):
        centre = centres[n % 12] / np.linalg.norm(centres[n % 12])
        vectors[str(n)] = _beside(centre, 0.1, n)
    await _arranged(library, vectors)
    outcomes = []
    for page in (1, 7, 64):
        monkeypatch.setattr("query_api.search.duplicates._NEAR_PAGE", page)
        steps = near_groups(library.catalog, library.vectors, bucket=None, min_score=90)
        groups: list[Group] = [step.group async for step in steps if step.group]
        outcomes.append([sorted(each.content.vector_id for each in group.contents) for group in groups])
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert sorted(number for group in outcomes[0] for number in group) == list(range(1001, 1061))
    assert len(outcomes[0]) == 12


@pytest.mark.parametrize(("bound", "value"), [("MAX_SECONDS", 0.0), ("MAX_SCANNED", 1)])
async def test_a_page_ends_in_time(
    client: httpx.AsyncClient, library: Library, monkeypatch: pytest.MonkeyPatch, bound: str, value: float
) -> None:
    """Where duplicates are rare, a page ends early and empty, with a token that goes on."""
    for n in range(5):
        await library.add(f"{n}.png", picture(n))
    monkeypatch.setattr(route, bound, value)
    answer = (await client.get("/v1/duplicates?kind=near")).json()
    assert (answer["results"], answer["scanned"]) == ([], 1)
    assert answer["next_page_token"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALIKE)
async def test_what_only_looks_alike_forms_no_group(client: httpx.AsyncClient, library: Library, kind: str) -> None:
    """Different pages of text and chats are one group by their scores, and none where links are verified."""
    for number in range(6):
        await library.add(f"{number}.png", png(ALIKE[kind](number)))
    assert [group["size"] for group in await _all_groups(client, "kind=near")] == [6]
    assert await _all_groups(client, "kind=near&verify=true") == []


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 20])
async def test_verified_groups_hold_copies_alone(client: httpx.AsyncClient, library: Library, limit: int) -> None:
    """Among pages of text that all score alike, the two that are copies are a group, found once and called verified."""
    for number in range(5):
        await library.add(f"{number}.png", png(ALIKE["text page"](number)))
    await library.add("copy of 3.jpg", jpeg(ALIKE["text page"](3)))
    [group] = await _all_groups(client, f"kind=near&verify=true&limit={limit}")
    assert {image["key"] for image in group["images"]} == {"3.png", "copy of 3.jpg"}
    assert (group["verified"], group["truncated"]) == (True, False)


async def test_links_that_can_not_be_verified_hold_by_their_score(client: httpx.AsyncClient, library: Library) -> None:
    """While the objects can't be read, groups are those of the scores, and don't call themselves verified."""
    for number in range(3):
        await library.add(f"{number}.png", png(ALIKE["chat"](number)))
    library.objects.outage = True
    [group] = await _all_groups(client, "kind=near&verify=true")
    assert (group["size"], group["verified"]) == (3, False)


async def test_a_group_takes_a_bounded_number_of_pairs(
    client: httpx.AsyncClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond its bound a group is followed no further, and says so."""
    for number in range(5):
        await library.add(f"{number}.jpg", jpeg(ALIKE["text page"](3), 40 + 10 * number))
    monkeypatch.setattr("query_api.search.duplicates.MAX_PAIRS", 4)
    monkeypatch.setattr("query_api.search.duplicates._AT_ONCE", 1)
    assert [group["size"] for group in await _all_groups(client, "kind=near&verify=true")] == [5]
    monkeypatch.setattr("query_api.search.duplicates.MAX_PAIRS", 2)
    group, *_ = await _all_groups(client, "kind=near&verify=true")
    assert group["truncated"]
