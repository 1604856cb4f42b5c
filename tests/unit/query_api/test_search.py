"""``POST /v1/search``: what is found, in which order, from which kinds of queries."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from PIL import Image

from query_api.search import search
from schemas.records import ContentState
from stores.vectors.ports import Vector, VectorHit
from tests.harness.library import Library, picture


def _recompressed(data: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(out, "JPEG", quality=40)
    return out.getvalue()


async def test_upload_finds_same_bytes_first(client: httpx.AsyncClient, library: Library) -> None:
    """The same bytes are the first hit, exact, with score 100; the copy of it follows."""
    original = picture(1)
    image_id = await library.add("a b/ü+%.png", original)
    await library.add("copy.jpg", _recompressed(original))
    await library.add("other.png", picture(2))
    answer = await client.post("/v1/search", files={"file": ("q.png", original)})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    first, second, *_ = body["results"]
    assert (first["image"]["id"], first["verdict"], first["score"], first["distance"]) == (image_id, "exact", 100, 0)
    assert first["image"]["key"] == "a b/ü+%.png"
    assert (second["image"]["key"], second["verdict"]) == ("copy.jpg", "copy")
    assert body["queries"][0]["kind"] == "picture"
    assert not body["more"]


async def test_raw_body_is_a_picture(client: httpx.AsyncClient, library: Library) -> None:
    """A picture sent as the body itself is searched for like an uploaded file."""
    await library.add("a.png", picture(1))
    answer = await client.post("/v1/search", content=picture(1), headers={"Content-Type": "image/png"})
    assert [hit["verdict"] for hit in answer.json()["results"]] == ["exact"]


async def test_same_bytes_are_found_before_the_vector_index_knows_them(
    client: httpx.AsyncClient, library: Library
) -> None:
    """A content whose vector is not visible yet is found by its digest, also while it is pending."""
    await library.add("late.png", picture(1), with_vector=False)
    await library.add("pending.png", picture(2), state=ContentState.PENDING)
    for seed, key in ((1, "late.png"), (2, "pending.png")):
        answer = await client.post("/v1/search", files={"file": picture(seed)})
        assert [hit["image"]["key"] for hit in answer.json()["results"][:1]] == [key]


async def test_one_hit_lists_all_keys_of_the_content(client: httpx.AsyncClient, library: Library) -> None:
    """Objects with the same bytes are one hit: the oldest is its image, all keys are listed."""
    for key in ("b.png", "a.png", "c.png"):
        await library.add(key, picture(1))
    [hit] = (await client.post("/v1/search", files={"file": picture(1)})).json()["results"]
    assert hit["image"]["key"] == "b.png"
    assert hit["keys"] == ["b.png", "a.png", "c.png"]
    assert hit["keys_total"] == 3


async def test_removed_picture_is_dropped_and_the_page_filled_up(client: httpx.AsyncClient, library: Library) -> None:
    """A vector that the catalog does not carry any more is no hit, and the page is full all the same."""
    for seed in range(40):
        await library.add(f"{seed}.png", picture(seed))
    for seed in range(1, 35):
        await library.remove(f"{seed}.png")
    body = (await client.post("/v1/search?limit=5", files={"file": picture(0)})).json()
    assert [hit["image"]["key"] for hit in body["results"]][:1] == ["0.png"]
    assert len(body["results"]) == 5
    assert body["more"]


async def test_pages_follow_each_other_without_gap(client: httpx.AsyncClient, library: Library) -> None:
    """Pages by offset together are the ranking that one large page shows."""
    for seed in range(12):
        await library.add(f"{seed}.png", picture(seed))
    whole = (await client.post("/v1/search?limit=12", files={"file": picture(3)})).json()["results"]
    pages = []
    for offset in (0, 5, 10):
        pages += (await client.post(f"/v1/search?limit=5&offset={offset}", files={"file": picture(3)})).json()[
            "results"
        ]
    assert [hit["image"]["id"] for hit in pages] == [hit["image"]["id"] for hit in whole]


async def test_filters_hold_before_ranking(client: httpx.AsyncClient, library: Library) -> None:
    """Filters decide what is ranked: a distant picture that matches is found though nearer ones do not match."""
    for seed in range(30):
        await library.add(f"noise/{seed}.png", picture(seed))
    await library.add("wanted/x.jpg", picture(99, kind="JPEG"))
    for query in ("prefix=wanted/", "content_type=image/jpeg", "created_from=2026-01-02T03:04:36Z"):
        body = (await client.post(f"/v1/search?limit=1&{query}", files={"file": picture(0)})).json()
        assert [hit["image"]["key"] for hit in body["results"]] == ["wanted/x.jpg"], query


async def test_hit_shows_the_key_that_matches_the_filter(client: httpx.AsyncClient, library: Library) -> None:
    """Under a filter, `image` is the oldest object that matches it, not the oldest of all."""
    await library.add("old/a.png", picture(1))
    await library.add("new/a.png", picture(1))
    [hit] = (await client.post("/v1/search?prefix=new/", files={"file": picture(1)})).json()["results"]
    assert (hit["image"]["key"], hit["keys"]) == ("new/a.png", ["new/a.png"])


async def test_bucket_separates(client: httpx.AsyncClient, library: Library) -> None:
    """The same bytes in two buckets are two hits; with `bucket`, one."""
    await library.add("a.png", picture(1))
    await library.add("a.png", picture(1), bucket="other")
    assert len((await client.post("/v1/search", files={"file": picture(1)})).json()["results"]) == 2
    [hit] = (await client.post("/v1/search?bucket=other", files={"file": picture(1)})).json()["results"]
    assert hit["image"]["bucket"] == "other"


async def test_min_score_and_exclude_exact(client: httpx.AsyncClient, library: Library) -> None:
    """`min_score` cuts the tail off, `exclude_exact` the head."""
    original = picture(1)
    await library.add("a.png", original)
    await library.add("copy.jpg", _recompressed(original))
    await library.add("b.png", picture(50))
    body = (await client.post("/v1/search?min_score=90&exclude_exact=true", files={"file": original})).json()
    assert [hit["image"]["key"] for hit in body["results"]] == ["copy.jpg"]


@pytest.mark.parametrize("pictures", [1, 2])
async def test_pages_are_cut_from_one_ranking(
    client: httpx.AsyncClient, library: Library, monkeypatch: pytest.MonkeyPatch, pictures: int
) -> None:
    """Whatever the index finds besides when more is asked of it, no hit is on two pages, and none on none."""
    exactly = library.vectors.search

    async def approximately(queries: Sequence[Vector], *, limit: int, **options: Any) -> list[list[VectorHit]]:
        missed = 3 if limit < 40 else 0
        answers = await exactly(queries, limit=1000, **options)
        return [hits[missed : missed + limit] for hits in answers]

    monkeypatch.setattr(library.vectors, "search", approximately)
    monkeypatch.setattr(search, "DEPTHS", (20, 1000))
    for seed in range(60):
        await library.add(f"{seed}.png", picture(seed, width=24, height=18))
    files = [("file", picture(seed)) for seed in range(100, 100 + pictures)]
    found: list[str] = []
    for offset in range(0, 60, 6):
        answer = (await client.post(f"/v1/search?offset={offset}&limit=6", files=files)).json()
        found += [hit["image"]["key"] for hit in answer["results"]]
    assert len(set(found)) == len(found) == 60
    whole = (await client.post("/v1/search?limit=60", files=files)).json()["results"]
    assert [hit["image"]["key"] for hit in whole] == found


async def test_several_pictures_in_one_call(client: httpx.AsyncClient, library: Library) -> None:
    """Each picture gets its own page; together they give one ranking that lists every content once."""
    ids = [await library.add(f"{seed}.png", picture(seed)) for seed in range(3)]
    files = [("file", ("0.png", picture(0))), ("file", ("2.png", picture(2)))]
    body = (await client.post("/v1/search", files=files)).json()
    assert {hit["image"]["id"] for hit in body["results"][:2]} == {ids[0], ids[2]}
    assert len(body["results"]) == 3
    assert [query["results"][0]["image"]["id"] for query in body["queries"]] == [ids[0], ids[2]]
    assert sorted(hit["query"] for hit in body["results"][:2]) == [0, 1]


async def test_search_by_id_key_and_vector(client: httpx.AsyncClient, library: Library) -> None:
    """An indexed image, named by id or key, and a raw vector find what the picture itself would find."""
    image_id = await library.add("a/ü.png", picture(1))
    await library.add("b.png", picture(2))
    [vector] = [entry.vector for entry in library.vectors.present().values()][:1]
    named = (
        {"image_id": image_id},
        {"bucket": "pictures", "key": "a/ü.png"},
        {"vector": [float(x) * 7 for x in vector]},
    )
    for query in named:
        answer = await client.post("/v1/search", json={"queries": [query]})
        assert answer.status_code == 200, answer.text
        first = answer.json()["results"][0]
        assert first["image"]["id"] == image_id
        assert first["score"] > 99.99


async def test_similar_leaves_the_picture_itself_out(client: httpx.AsyncClient, library: Library) -> None:
    """Images similar to one do not include it, unless asked for."""
    image_id = await library.add("a.png", picture(1))
    await library.add("twin.png", picture(1))
    await library.add("b.png", picture(2))
    body = (await client.get(f"/v1/images/{image_id}/similar")).json()
    assert [hit["image"]["key"] for hit in body["results"]] == ["b.png"]
    body = (await client.get(f"/v1/images/{image_id}/similar?exclude_exact=false")).json()
    assert [hit["image"]["key"] for hit in body["results"]] == ["a.png", "b.png"]


async def test_search_by_pending_or_rejected_image_says_so(client: httpx.AsyncClient, library: Library) -> None:
    """An image without a vector can't be searched by: 409 with its state and reason."""
    pending = await library.add("p.png", picture(1), state=ContentState.PENDING)
    rejected = await library.add("r.png", b"text", state=ContentState.REJECTED, reason="not_an_image: it is text")
    for image_id, state in ((pending, "pending"), (rejected, "rejected")):
        answer = await client.get(f"/v1/images/{image_id}/similar")
        assert (answer.status_code, answer.json()["code"], answer.json()["state"]) == (409, "not_indexed", state)


async def test_fresh_sees_what_was_just_indexed(library: Library, client: httpx.AsyncClient) -> None:
    """With `fresh` a search sees vectors that the index would show only a moment later."""
    await library.add("a.png", picture(1))
    library.vectors.settle()
    library.vectors.bounded_lag = True
    await library.add("b.png", picture(2))
    query = {"files": {"file": picture(3)}}
    assert len((await client.post("/v1/search", **query)).json()["results"]) == 1  # type: ignore[arg-type]
    assert len((await client.post("/v1/search?fresh=true", **query)).json()["results"]) == 2  # type: ignore[arg-type]


async def test_an_image_is_searched_by_a_vector_stored_a_moment_ago(
    client: httpx.AsyncClient, library: Library
) -> None:
    """An image whose vector only a Strong look finds is searched by it all the same."""
    library.vectors.bounded_lag = True
    image_id = await library.add("a.png", picture(1))
    answer = await client.get(f"/v1/images/{image_id}/similar?exclude_exact=false")
    assert [hit["image"]["id"] for hit in answer.json()["results"]] == [image_id]
