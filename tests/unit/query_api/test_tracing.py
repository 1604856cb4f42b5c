"""One trace for each search: its stages, what it tells, and what it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from schemas import tracing
from schemas.tracing import TRACEPARENT
from tests.harness.library import Library, picture
from tests.unit.spans import GIVEN, Spans, parent_of, traced


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Traces, on for one test."""
    with traced() as spans:
        yield spans


async def test_one_trace_for_a_search(client: httpx.AsyncClient, library: Library, spans: Spans) -> None:
    """A search is one trace, named by its route, of which each stage is a part."""
    await library.add("a.png", picture(1))
    answer = await client.post("/v1/search", files={"file": picture(1)})
    assert answer.status_code == 200
    [request] = spans.named("POST /v1/search")
    stages = [span for span in spans.all if span is not request]
    assert {"read", "decode", "embed", "vectors", "sql"} <= {span.name for span in stages}
    assert {span.context.trace_id for span in stages} == {request.context.trace_id}
    assert {parent_of(span) for span in stages} == {request.context.span_id}
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/search",
        "http.response.status_code": 200,
        "twinlens.request_id": answer.headers["X-Request-ID"],
    }


async def test_searches_have_traces_of_their_own(client: httpx.AsyncClient, library: Library, spans: Spans) -> None:
    """Of two searches at once, no stage is told of the other."""
    image_id = await library.add("a.png", picture(1))
    for _ in range(2):
        assert (await client.get(f"/v1/images/{image_id}/similar")).status_code == 200
    requests = spans.named("GET /v1/images/{image_id}/similar")
    assert len({span.context.trace_id for span in requests}) == 2
    assert all(sum(span.context.trace_id == one.context.trace_id for span in spans.all) > 1 for one in requests)


async def test_a_clients_trace_is_continued(client: httpx.AsyncClient, spans: Spans) -> None:
    """A proxy's traceparent is taken; a malformed one counts as none."""
    for header in (GIVEN, "nonsense", f"{GIVEN}, {GIVEN}"):
        assert (await client.get("/v1/images", headers={TRACEPARENT: header})).status_code == 200
    continued, *others = [f"{span.context.trace_id:032x}" for span in spans.named("GET /v1/images")]
    assert continued == tracing.trace_id(GIVEN)
    assert tracing.trace_id(GIVEN) not in others


async def test_nothing_that_was_sent_is_told(client: httpx.AsyncClient, spans: Spans) -> None:
    """No key, query string, file name, method or path of a client is in a trace; failures tell their types alone."""
    headers = {"Authorization": "Bearer s3cret", "X-API-Key": "s3cret"}
    await client.post("/v1/search?bucket=s3cret", files={"file": ("s3cret.png", picture(1))}, headers=headers)
    await client.post("/v1/search", files={"file": ("s3cret.png", b"s3cret")})
    await client.get("/v1/s3cret")
    await client.request("S3CRET", "/v1/images")
    told = [json.loads(span.to_json()) for span in spans.all]
    assert len(told) > 4
    assert "s3cret" not in json.dumps(told).lower()


async def test_page_and_health_have_no_traces(client: httpx.AsyncClient, spans: Spans) -> None:
    """What supervisors ask and the page's own files are no searches."""
    for path in ("/healthz", "/readyz", "/metrics", "/", "/js/api.js"):
        await client.get(path)
    assert spans.all == ()
