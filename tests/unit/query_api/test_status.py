"""Counts, throughput, rejections, health, metrics."""

from __future__ import annotations

from datetime import timedelta

import httpx
import structlog
from fastapi import FastAPI
from sqlalchemy import insert

from query_api.sharing.outage_log import OutageLog
from schemas.patrol import PatrolRound, Rule, last_round_name
from schemas.records import ContentState
from schemas.settings import Settings
from schemas.tables import progress
from tests.harness.library import BUCKET, Library, picture
from tests.unit.query_api.problems import assert_problem


async def test_counts(client: httpx.AsyncClient, library: Library, settings: Settings) -> None:
    """Objects by state add up; contents count bytes once per bucket; the oldest pending one has an age."""
    await library.add("a.png", picture(1))
    await library.add("b.png", picture(1))
    await library.add("a.png", picture(1), bucket="other")
    await library.add("p.png", picture(2), state=ContentState.PENDING)
    waiting_since = library.now
    await library.add("p2.png", picture(3), state=ContentState.PENDING)
    await library.add("r.png", b"text", state=ContentState.REJECTED, reason="not_an_image: it is text")
    await library.reject_object("l.png", b"x" * 10, "too_many_bytes")
    library.now = waiting_since + timedelta(seconds=90)
    body = (await client.get("/v1/stats")).json()
    expected = {"objects": 7, "contents": 5, "vectors": 2, "indexed": 3, "pending": 2, "rejected": 2}
    assert {name: body[name] for name in expected} == expected
    assert (body["oldest_pending_s"], body["model"]) == (90, library.embedder.model_id)
    assert body["limits"]["max_picture_bytes"] == settings.limits.max_object_bytes
    other = (await client.get("/v1/stats?bucket=other")).json()
    assert [other[name] for name in expected] == [1, 1, 1, 1, 0, 0]


async def test_empty_counts(client: httpx.AsyncClient) -> None:
    """An empty installation has zeros, not nulls."""
    body = (await client.get("/v1/stats")).json()
    assert [body[name] for name in ("objects", "contents", "vectors", "indexed", "pending", "rejected", "bytes")] == [
        0
    ] * 7
    assert body["oldest_pending_at"] is None


async def test_throughput_has_every_minute(client: httpx.AsyncClient, library: Library) -> None:
    """Every minute asked for is there, oldest first, with the contents indexed in it."""
    for n in range(3):
        await library.add(f"{n}.png", picture(n))
    library.now += timedelta(minutes=2)
    await library.add("late.png", picture(9))
    body = (await client.get("/v1/stats/throughput?minutes=5")).json()
    assert [minute["indexed"] for minute in body["results"]] == [0, 0, 3, 0, 1]
    assert body["total"] == 4


async def test_the_patrols_last_rounds(client: httpx.AsyncClient, library: Library) -> None:
    """What the patrol found in each bucket, and how its notification rule was; of other buckets nothing is said."""
    rounds = [
        PatrolRound(
            bucket=bucket,
            started=library.now,
            finished=library.now + timedelta(seconds=20),
            objects=10_000,
            differences=3,
            refused=(),
            rule=Rule.PUT_BACK,
        )
        for bucket in (BUCKET, "forgotten")
    ]
    async with library.engine.begin() as connection:
        for each in rounds:
            values = {"name": last_round_name(each.bucket), "position": each.model_dump(mode="json")}
            await connection.execute(insert(progress).values(**values, updated_at=library.now))
    [found] = (await client.get("/v1/stats/patrol")).json()["results"]
    assert (found["bucket"], found["objects"], found["differences"], found["rule"]) == (BUCKET, 10_000, 3, "put_back")


async def test_rejections_by_reason(client: httpx.AsyncClient, library: Library) -> None:
    """Rejected objects are counted under the slug of their reason, most frequent first."""
    await library.add("a", b"text", state=ContentState.REJECTED, reason="not_an_image: it is text")
    await library.add("b", b"text 2", state=ContentState.REJECTED, reason="not_an_image: it is other text")
    await library.reject_object("l", b"x", "too_many_bytes")
    body = (await client.get("/v1/stats/rejections")).json()
    assert body == {"results": [{"reason": "not_an_image", "objects": 2}, {"reason": "too_many_bytes", "objects": 1}]}


async def test_ready_when_all_answer(client: httpx.AsyncClient) -> None:
    """Ready names every check."""
    checks = (await client.get("/readyz")).json()["checks"]
    assert checks == dict.fromkeys(("catalog", "vectors", "objects", "model"), "ok")


async def test_not_ready_is_alive(client: httpx.AsyncClient, library: Library) -> None:
    """Not ready is a 503 that names what is missing; alive it is all the same."""
    library.vectors.outage = True
    library.objects.outage = True
    body = assert_problem(await client.get("/readyz"), 503)
    assert body["checks"] == {"catalog": "ok", "vectors": "away", "objects": "away", "model": "ok"}
    assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_metrics_name_routes_not_paths(client: httpx.AsyncClient, library: Library) -> None:
    """Requests are counted by route, so that ids and strangers' paths make no new series."""
    image_id = await library.add("a.png", picture(1))
    await client.get(f"/v1/images/{image_id}")
    await client.get("/no/such/path")
    text = (await client.get("/metrics")).text
    assert 'twinlens_api_requests_total{method="GET",route="/v1/images/{image_id}",status="200"} 1.0' in text
    assert "no/such/path" not in text
    assert image_id not in text


def test_an_outage_is_logged_once_a_minute() -> None:
    """Of many failures for one reason one is logged, then one a minute; the return is logged once."""
    clock = [0.0]
    log = OutageLog(lambda: clock[0])

    with structlog.testing.capture_logs() as lines:
        for second in range(90):
            clock[0] = second
            log.away("catalog", "refused")
        log.back("catalog")
        log.back("catalog")
    said = [line["event"] for line in lines]
    assert said == ["dependency_down", "dependency_down", "dependency_back"]
    assert lines[1]["unlogged"] == 59


async def test_openapi_is_served_and_the_docs_need_no_internet(client: httpx.AsyncClient, app: FastAPI) -> None:
    """The description and Swagger UI come from this service, under a policy that allows no other host."""
    assert (await client.get("/openapi.json")).json() == app.openapi()
    page = await client.get("/docs")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("<!doctype", "")
    for asset in ("/docs/start.js", "/docs/assets/swagger-ui-bundle.js", "/docs/assets/swagger-ui.css"):
        assert (await client.get(asset)).status_code == 200


async def test_static_files_stay_in_their_folder(client: httpx.AsyncClient) -> None:
    """No address leads out of the page's folder."""
    for path in (
        "/../app.py",
        "/%2e%2e/app.py",
        "/docs/assets/../__init__.py",
        "/docs/assets/%2e%2e/main.py",
        "/..%2fapp.py",
    ):
        assert_problem(await client.get(path), 404)
