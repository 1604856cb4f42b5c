"""A client of our own HTTP API, for the commands that use it as anybody would."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from schemas.errors import Outage, TwinlensError
from schemas.records import ANY_TYPE

TIMEOUT_S = 60.0


class ApiAway(Outage):
    """The query service can't be reached, or says that it can't answer now."""

    dependency = "api"


class ApiRefused(TwinlensError):
    """The query service refused the request; the text is its problem's detail."""


class NotThere(ApiRefused):
    """The query service knows nothing of that name."""


class ApiClient:
    """Asks one query service, through ``transport`` if one is given. Every method raises ApiAway and ApiRefused."""

    def __init__(
        self, url: str, *, api_key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def search(self, picture: bytes, **parameters: str | float) -> dict[str, Any]:
        """The answer of ``POST /v1/search`` for the bytes of a picture."""
        headers = {"Content-Type": ANY_TYPE}
        return await self._ask("POST", "/v1/search", params=parameters, content=picture, headers=headers)

    async def stats(self) -> dict[str, Any]:
        """The answer of ``GET /v1/stats``."""
        return await self._ask("GET", "/v1/stats")

    async def images(self, **parameters: str | float) -> list[dict[str, Any]]:
        """The first page of ``GET /v1/images`` under these filters."""
        answer = await self._ask("GET", "/v1/images", params=parameters)
        return list(answer["results"])

    async def image(self, image_id: str) -> dict[str, Any] | None:
        """The answer of ``GET /v1/images/{image_id}``; None while there is no such image."""
        try:
            return await self._ask("GET", f"/v1/images/{image_id}")
        except NotThere:
            return None

    async def readiness(self) -> dict[str, str]:
        """What ``GET /readyz`` says of each thing that a search needs: ``ok``, or what is wrong."""
        response = await self._answered("GET", "/readyz")
        try:
            return {str(name): str(state) for name, state in response.json()["checks"].items()}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ApiRefused(_detail(response)) from error

    async def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        response = await self._answered(method, path, **request)
        if response.is_success:
            return dict(response.json())
        detail = _detail(response)
        if response.status_code in (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS):
            raise ApiAway(detail)
        raise NotThere(detail) if response.status_code == httpx.codes.NOT_FOUND else ApiRefused(detail)

    async def _answered(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return await self._client.request(method, path, **request)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise ApiAway(f"no query service answers at {self._client.base_url}: {reason}") from error


def _detail(response: httpx.Response) -> str:
    """What a problem document says, or at least the status."""
    try:
        problem = response.json()
        text = str(problem.get("detail") or problem["title"])
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{response.request.url} answered {response.status_code} {response.reason_phrase}"
    faults = [f"{fault.get('field')}: {fault.get('message')}" for fault in problem.get("errors", [])]
    return "; ".join([text, *faults])
