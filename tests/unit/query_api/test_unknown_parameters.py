"""Query parameters that a route does not have are refused, as unknown settings are."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from tests.harness.library import Library, picture
from tests.unit.query_api.problems import ABSENT, assert_problem


async def test_a_misspelt_parameter_is_refused_with_the_known_ones(client: httpx.AsyncClient) -> None:
    """It would have done nothing: the answer names it, the one that was meant, and all that there are."""
    answer = await client.get("/v1/images?limt=5&prefix=a&who=me")
    body = assert_problem(answer, 422)
    assert body["code"] == "invalid_request"
    assert [fault["field"] for fault in body["errors"]] == ["query.limt", "query.who"]
    assert "Did you mean limit?" in body["errors"][0]["message"]
    assert {"limit", "prefix", "page_token"} <= set(body["known"])


async def test_every_route_refuses_what_it_does_not_know(app: FastAPI, client: httpx.AsyncClient) -> None:
    """All routes but the predecessor's, whose clients may send what its service took no notice of."""
    paths = app.openapi()["paths"]
    for path, operations in paths.items():
        for method in operations:
            where = path.replace("{image_id}", ABSENT).replace("{meta_uuid}", "none")
            answer = await client.request(method, where, params={"no_such_parameter": "1"})
            refused = answer.status_code == 422 and "no_such_parameter" in answer.text
            assert refused is not path.startswith(("/sample/", "/meta/")), (method, path, answer.text)


async def test_known_parameters_are_those_of_the_description(app: FastAPI, client: httpx.AsyncClient) -> None:
    """A refusal lists what the route's description does."""
    for path, operations in app.openapi()["paths"].items():
        if path.startswith(("/sample/", "/meta/")):
            continue
        for method, operation in operations.items():
            described = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}
            where = path.replace("{image_id}", ABSENT)
            answer = await client.request(method, where, params={"no_such_parameter": "1"})
            assert set(answer.json()["known"]) == described, (method, path)


@pytest.mark.parametrize("name", ["x" * 500, "<script>", "limit\x1b[31m"])
async def test_what_strangers_name_is_cut_short(client: httpx.AsyncClient, name: str) -> None:
    """A name of any length and letters is told in the problem's shape."""
    answer = await client.get("/v1/images", params={name: "1"})
    body = assert_problem(answer, 422)
    assert len(body["errors"][0]["field"]) <= 80


async def test_known_ones_go_on_working(client: httpx.AsyncClient, library: Library) -> None:
    """Parameters that belong to what several routes share are known wherever they are."""
    image = await library.add("a.png", picture(1))
    for path in (
        "/v1/images?bucket=pictures&state=indexed&order=key&count=true",
        f"/v1/images/{image}/similar?min_score=1&verify=true&fresh=true&size_min=1",
        f"/v1/images/{image}/thumbnail?size=160&v=abc",
        f"/v1/images/{image}/file?download=true",
        "/v1/duplicates?kind=near&verify=true&limit=5",
    ):
        assert (await client.get(path)).status_code == 200, path
