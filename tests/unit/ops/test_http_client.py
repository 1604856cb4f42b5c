"""The client of our own API, against answers as the API gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from ops.http_client import ApiAway, ApiClient, ApiRefused
from ops.installation import api_url
from schemas.settings import ApiSettings

PROBLEM = {
    "type": "urn:twinlens:problem:invalid_request",
    "title": "Invalid request",
    "status": 422,
    "detail": "One parameter is wrong.",
    "errors": [{"field": "query.limit", "message": "must be at most 1000"}],
}


def client(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> ApiClient:
    """A client of a query service that answers so."""
    return ApiClient("http://twinlens", transport=httpx.MockTransport(answer), **options)


async def test_a_search_sends_the_picture_and_its_parameters() -> None:
    """The bytes go as the raw body, with the key as a bearer token."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url == "http://twinlens/v1/search?limit=3"
        assert request.headers["Authorization"] == "Bearer secret"
        assert request.content == b"picture"
        return httpx.Response(200, json={"results": []})

    async with client(answer, api_key="secret") as api:
        assert await api.search(b"picture", limit=3) == {"results": []}


async def test_a_problem_is_told_with_its_faults() -> None:
    """The person at the terminal learns which parameter is wrong."""
    async with client(lambda _: httpx.Response(422, json=PROBLEM)) as api:
        with pytest.raises(ApiRefused, match=r"One parameter is wrong\.; query\.limit: must be at most 1000"):
            await api.stats()


async def test_another_servers_error_is_told_by_its_status() -> None:
    """Whatever else listens there may not speak JSON."""
    async with client(lambda _: httpx.Response(404, text="<html>")) as api:
        with pytest.raises(ApiRefused, match="answered 404 Not Found"):
            await api.stats()


@pytest.mark.parametrize("status", [429, 503])
async def test_busy_means_away(status: int) -> None:
    """Who is told to come back later may try again."""
    async with client(lambda _: httpx.Response(status, json={"title": "Overloaded"})) as api:
        with pytest.raises(ApiAway, match="Overloaded"):
            await api.stats()


async def test_no_server_means_away() -> None:
    """A refused connection names the address that was tried."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with client(refuse) as api:
        with pytest.raises(ApiAway, match="no query service answers at http://twinlens: refused"):
            await api.images(limit=1)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:6200"),
        ("0.0.0.0", "http://127.0.0.1:6200"),  # noqa: S104 - what a container is told
        ("::1", "http://[::1]:6200"),
    ],
)
def test_the_address_follows_the_settings(host: str, expected: str) -> None:
    """An address that means "all of this machine" is reached through the loopback."""
    assert api_url(ApiSettings(host=host)) == expected
