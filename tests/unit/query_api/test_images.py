"""Images: one, many, by every name they have."""

from __future__ import annotations

import httpx
import pytest

from imaging.digest import digest_of
from query_api.http.paging import make_token
from schemas.records import ContentState
from stores.catalog.reading.ports import ImageFilter
from tests.harness.library import Library, picture
from tests.unit.query_api.problems import assert_problem


async def test_image_has_everything_that_is_known(client: httpx.AsyncClient, library: Library) -> None:
    """An image's JSON names its object, its bytes, its picture, its state and where to get it."""
    data = picture(1, width=90, height=60)
    image_id = await library.add("a b/ü.png", data, external_id="shop-7", user_metadata={"album": "x"})
    body = (await client.get(f"/v1/images/{image_id}")).json()
    digest = digest_of(data)
    expected = {
        "id": image_id, "bucket": "pictures", "key": "a b/ü.png", "external_id": "shop-7", "sha256": digest.sha256,
        "md5": digest.md5, "width": 90, "height": 60, "format": "png", "size": len(data), "content_type": "image/png",
        "state": "indexed", "reason": None, "metadata": {"album": "x"}, "created_at": "2026-01-02T03:04:06Z",
        "file_url": f"/v1/images/{image_id}/file",
        "thumbnail_url": f"/v1/images/{image_id}/thumbnail?v={digest.sha256[:12]}",
    }  # fmt: skip
    assert {name: body[name] for name in expected} == expected


async def test_a_picture_that_is_there_in_part_says_so(client: httpx.AsyncClient, library: Library) -> None:
    """Of a file that was cut short, an image's JSON says how much there is; of a whole one, that it is whole."""
    data = picture(1, width=640, height=480, kind="JPEG")
    whole = (await client.get(f"/v1/images/{await library.add('whole.jpg', data)}")).json()
    part = (await client.get(f"/v1/images/{await library.add('part.jpg', data[: len(data) * 3 // 4])}")).json()
    assert (whole["partial"], whole["decoded_share"]) == (False, None)
    assert (part["partial"], part["height"]) == (True, 480)
    assert 0.5 <= part["decoded_share"] < 1


async def test_state_and_reason_are_told(client: httpx.AsyncClient, library: Library) -> None:
    """A pending image says so; a rejected one has its reason, whether the bytes or the object were at fault."""
    pending = await library.add("p.png", picture(1), state=ContentState.PENDING)
    rejected = await library.add("r.png", b"text", state=ContentState.REJECTED, reason="not_an_image: it is text")
    large = await library.reject_object("l.png", b"x" * 100, "too_many_bytes")
    told = {each["id"]: (each["state"], each["reason"]) for each in (await client.get("/v1/images")).json()["results"]}
    assert told == {
        pending: ("pending", None),
        rejected: ("rejected", "not_an_image: it is text"),
        large: ("rejected", "too_many_bytes"),
    }


async def test_time_and_attempts_of_a_decision_are_told(client: httpx.AsyncClient, library: Library) -> None:
    """An indexed or rejected image says when that was decided, a rejected one after how many attempts."""
    pending = await library.add("p.png", picture(1), state=ContentState.PENDING)
    rejected = await library.add("r.png", b"text", state=ContentState.REJECTED, reason="not_an_image: it is text")
    large = await library.reject_object("l.png", b"x" * 100, "too_many_bytes")
    indexed = await library.add("i.png", picture(2))
    page = (await client.get("/v1/images")).json()["results"]
    assert {each["id"]: each["decided_at"] is not None for each in page} == {
        pending: False, rejected: True, large: True, indexed: True,
    }  # fmt: skip
    assert {each["id"]: each["attempts"] for each in page if each["state"] == "rejected"} == {rejected: 1, large: 1}


async def test_removed_image_is_gone(client: httpx.AsyncClient, library: Library) -> None:
    """What was deleted from the bucket is neither found nor listed."""
    image_id = await library.add("a.png", picture(1))
    await library.remove("a.png")
    assert_problem(await client.get(f"/v1/images/{image_id}"), 404)
    assert (await client.get("/v1/images?count=true")).json() == {"results": [], "next_page_token": None, "total": 0}


@pytest.mark.parametrize("order", ["newest", "oldest", "key"])
async def test_pages_show_every_image_once(client: httpx.AsyncClient, library: Library, order: str) -> None:
    """Following the tokens gives all images, each once, in the order asked for, though others arrive meanwhile."""
    keys = [f"{n % 3}/ü {n}.png" for n in range(7)]
    for n, key in enumerate(keys):
        await library.add(key, picture(n))
    seen: list[str] = []
    token = ""
    while True:
        answer = (await client.get(f"/v1/images?limit=3&order={order}{token}")).json()
        seen += [each["key"] for each in answer["results"]]
        if answer["next_page_token"] is None:
            break
        token = f"&page_token={answer['next_page_token']}"
    expected = {"newest": keys[::-1], "oldest": keys, "key": sorted(keys, key=str.encode)}
    assert seen == expected[order]


async def test_token_belongs_to_its_listing(client: httpx.AsyncClient, library: Library) -> None:
    """A token used with other filters or another order is refused instead of skipping images silently."""
    for n in range(3):
        await library.add(f"{n}.png", picture(n))
    token = (await client.get("/v1/images?limit=1")).json()["next_page_token"]
    assert (await client.get(f"/v1/images?limit=1&page_token={token}")).status_code == 200
    for other in ("order=key", "prefix=0", "bucket=pictures"):
        assert_problem(await client.get(f"/v1/images?limit=1&{other}&page_token={token}"), 422)


async def test_filters_select(client: httpx.AsyncClient, library: Library) -> None:
    """Each filter selects what it says, and all of them have to hold."""
    small, large = picture(1), picture(2, width=400, height=400, kind="JPEG")
    await library.add("cats/a%_.png", small, external_id="x/1")
    await library.add("cats2/b.jpg", large)
    await library.add("cats/a%_.png", small, bucket="other")
    await library.add("p.png", picture(3), state=ContentState.PENDING)
    cases = {
        "prefix=cats/": 2, "prefix=cats": 3, "prefix=c_ts": 0, "key=cats/a%25_.png": 2, "bucket=other": 1,
        "external_id=x/1": 1, f"sha256={digest_of(small).sha256}": 2, f"md5={digest_of(large).md5}": 1,
        "state=pending": 1, "state=indexed": 3, "state=removed": 0, "content_type=image/jpeg": 1,
        "content_type=image/png": 3, f"size_min={len(large)}": 1, f"size_max={len(small)}&state=indexed": 2,
        "created_from=2026-01-02T03:04:08Z": 2, "created_to=2026-01-02T03:04:07Z": 1,
        "created_from=0001-01-01T00:00:00%2B14:00": 4, "prefix=cats/&bucket=pictures": 1,
    }  # fmt: skip
    for query, expected in cases.items():
        body = (await client.get(f"/v1/images?count=true&{query}")).json()
        assert (body["total"], len(body["results"])) == (expected, expected), query


async def test_forged_token_is_refused(client: httpx.AsyncClient, library: Library) -> None:
    """A token with numbers or text that no database takes is a bad request, not an error of ours."""
    await library.add("a.png", picture(1))
    listing = f"images newest {ImageFilter()}"
    for position in ([2**70, "", ""], ["1", "", ""], [1, "\ud800", ""], [1], [True, "", ""]):
        answer = await client.get("/v1/images", params={"page_token": make_token(listing, position)})
        assert_problem(answer, 422)
