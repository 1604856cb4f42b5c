"""Comparing two pictures."""

from __future__ import annotations

import httpx

from tests.harness.library import Library, picture
from tests.unit.query_api.problems import assert_problem


async def test_two_uploads(client: httpx.AsyncClient) -> None:
    """The same bytes are exact with score 100, another compression of them a copy, another picture only similar."""
    same = {"a": picture(1), "b": picture(1)}
    copy = {"a": picture(1), "b": picture(1, kind="JPEG")}
    other = {"a": picture(1), "b": picture(2)}
    answers = [(await client.post("/v1/compare", files=files)).json() for files in (same, copy, other)]
    assert [answer["verdict"] for answer in answers] == ["exact", "copy", "similar"]
    assert (answers[0]["score"], answers[0]["distance"]) == (100, 0)
    assert answers[1]["b"] == {**answers[1]["b"], "format": "jpeg", "width": 96, "height": 72, "image": None}


async def test_images_and_uploads_mix(client: httpx.AsyncClient, library: Library) -> None:
    """Each side is an upload or the id of an indexed image, and the result is the same either way round."""
    one, other = await library.add("a.png", picture(1)), await library.add("b.png", picture(2))
    by_ids = (await client.get(f"/v1/compare?a={one}&b={other}")).json()
    mixed = (await client.post("/v1/compare", files={"b": picture(1)}, data={"a": other})).json()
    assert abs(by_ids["score"] - mixed["score"]) < 0.01
    assert by_ids["a"]["image"]["key"] == "a.png"
    assert mixed["a"]["image"]["key"] == "b.png"
    assert mixed["b"]["image"] is None


async def test_the_unknown_side_is_named(client: httpx.AsyncClient) -> None:
    """A side that is missing, sent twice or not there is refused."""
    assert_problem(await client.post("/v1/compare", files={"b": picture(1)}, data={"a": "no-id"}), 404)
    twice = [("a", ("1.png", picture(1))), ("a", ("2.png", picture(2)))]
    assert_problem(await client.post("/v1/compare", files=twice), 422)
    broken = await client.post("/v1/compare", files={"a": picture(1), "b": b"text"})
    assert assert_problem(broken, 422)["reason"] == "not_an_image"
