"""One JSON shape for every error: RFC 9457 problem details, from whatever exception a route ends with.

A small module of our own instead of fastapi-problem: our exceptions come from three trees of ours that are mapped
here in one place, the middleware needs the same shape outside of FastAPI, and the predecessor's routes add members.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from imaging.errors import ImagingError, TooManyBytes, UndecodableImage
from query_api import errors
from query_api.errors import RequestProblem
from query_api.sharing.outage_log import OutageLog
from schemas.errors import ObjectTooLarge, Outage, RefusedUrl, TwinlensError
from stores.urls import UnreachableUrl

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:twinlens:problem:"
PREDECESSOR_PATHS = ("/sample/", "/meta/")
API_PATHS = ("/v1/", *PREDECESSOR_PATHS)
"""What clients ask for. The page's own files and what supervisors ask lie elsewhere."""
SUPERVISORS_PATHS = ("/healthz", "/readyz", "/metrics")
_RETRYABLE = frozenset({408, 429, 503})
_BY_STATUS = {
    400: ("bad_request", "The request can't be understood"),
    **{kind.status: (kind.code, kind.title) for kind in (errors.NotFound, errors.ReadOnly, errors.TooLarge)},
}


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="Where: query.limit, body.queries.0.vector, …")
    message: str


class Problem(BaseModel):
    """An error (RFC 9457). Further members depend on the code."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:twinlens:problem:not_found",
                "title": "Not found",
                "status": 404,
                "detail": "There is no image 0123456789abcdef0123456789abcdef.",
                "code": "not_found",
                "request_id": "5f0c1e4e8f6b4a0d",
            }
        },
    )

    type: str = Field(description="Names the kind of problem; a URN, not an address.")
    title: str
    status: int
    detail: str = Field(description="A sentence for people about this very request.")
    code: str = Field(description="The kind of problem for programs.")
    request_id: str | None = Field(default=None, description="Names this request in the service's log.")
    errors: list[Fault] = Field(default=[], description="What is wrong, for code `invalid_request`.")
    retryable: bool = Field(default=False, description="Whether the same request may succeed later.")


def problem_response(problem: RequestProblem, request_id: str | None, *, path: str = "") -> Response:
    """The answer to a request that ended with this problem."""
    body = {
        "type": TYPE_PREFIX + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
        "errors": [],
        "retryable": problem.status in _RETRYABLE,
        **problem.members,
    }
    if path.startswith(PREDECESSOR_PATHS):
        # The predecessor's front end looks at these two only.
        body |= {"succeed": False, "message": problem.detail}
    return JSONResponse(body, problem.status, problem.headers, media_type=MEDIA_TYPE)


_SAME_WORDS: tuple[tuple[type[Exception], type[RequestProblem]], ...] = (
    (TooManyBytes, errors.TooLarge),
    (ObjectTooLarge, errors.TooLarge),
    (UnreachableUrl, errors.UrlNotFetched),
    (RefusedUrl, errors.UrlNotAllowed),
)
"""Exceptions whose text is the problem's detail; what is left of our trees means that the operator has to act."""


def from_exception(error: Exception) -> RequestProblem:
    """The problem that an exception of Twinlens' own trees amounts to; anything else is an internal error."""
    if isinstance(error, RequestProblem):
        return error
    for kind, problem in _SAME_WORDS:
        if isinstance(error, kind):
            return problem(str(error))
    return _worded(error)


def _worded(error: Exception) -> RequestProblem:
    match error:
        case UndecodableImage():
            return errors.UnreadablePicture(error.detail, reason=error.reason)
        case Outage():
            detail = f"The {error.dependency} can't be reached at the moment; try again in a few seconds."
            return errors.Unavailable(detail, dependency=error.dependency)
        case TwinlensError() | ImagingError():
            return errors.Misconfigured(str(error))
        case TimeoutError():
            return errors.AnswerTimeout("The answer took longer than this service allows.")
    return errors.InternalError("Something went wrong on our side; the log has the details under the request id.")


def install(app: FastAPI, outage_log: OutageLog) -> None:
    """Have every error of the app's routes answered with a problem."""

    async def ours(request: Request, error: Exception) -> Response:
        if isinstance(error, Outage):
            outage_log.away(error.dependency, str(error))
        return _answer(request, from_exception(error))

    handler: Callable[[Request, Exception], Awaitable[Response]] = ours
    for kind in (RequestProblem, TwinlensError, ImagingError, TimeoutError):
        app.add_exception_handler(kind, handler)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(RequestValidationError, _of_validation)


def _answer(request: Request, problem: RequestProblem) -> Response:
    return problem_response(problem, request_id_of(request), path=request.url.path)


def request_id_of(request: Request) -> str | None:
    """The id that the outermost middleware gave the request."""
    return getattr(request.state, "request_id", None)


async def _of_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, title = _BY_STATUS.get(error.status_code, ("http_error", "The request failed"))
    problem = errors.RequestProblem(_sentence(request, error), headers=error.headers)
    problem.status, problem.code, problem.title = error.status_code, code, title
    return _answer(request, problem)


def _sentence(request: Request, error: HTTPException) -> str:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return "There is nothing at this address."
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.method} is not allowed here."
    return str(error.detail)


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _answer(request, invalid(error.errors()))


def invalid(faults: Sequence[Any], *, within: str = "") -> errors.InvalidRequest:
    """A problem that lists pydantic's faults, without the input, which may be large or secret."""
    listed = [
        {
            "field": ".".join(str(part) for part in (*([within] if within else []), *fault["loc"])),
            "message": fault["msg"],
        }
        for fault in faults[:20]
    ]
    detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in listed[:3])
    return errors.InvalidRequest(detail or "The request is not valid.", errors=listed)


_EVERYWHERE = (401, 429, 500, 503)
_MEANING = {
    400: "The body can't be parsed.",
    401: "An API key is asked for, and none or a wrong one was given.",
    403: "Switched off in the settings.",
    404: "There is no such thing.",
    405: "Not a thing to do here.",
    408: "The body took too long.",
    409: "The image is pending or rejected: it has no vector.",
    410: "The upload is not remembered any more.",
    413: "Too many bytes.",
    415: "A type of body that is not taken here.",
    416: "The range lies outside the file.",
    422: "A parameter is wrong, or the picture can't be read.",
    429: "Too many requests; see Retry-After.",
    500: "A bug.",
    503: "Overloaded, or a dependency is away; see Retry-After.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses for these statuses and those that any route can have."""
    return {
        status: {
            "description": _MEANING[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, *_EVERYWHERE})
    }
