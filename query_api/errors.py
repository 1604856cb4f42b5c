"""Everything that a request can be refused for, as exceptions that know their problem details (RFC 9457).

RequestProblem
├── InvalidRequest 422        ├── NotIndexed 409          ├── RateLimited 429
├── UnreadablePicture 422     ├── RangeNotSatisfiable 416 ├── Overloaded 503
├── UrlNotAllowed 422         ├── TooLarge 413            ├── Unavailable 503
├── UrlNotFetched 422         ├── BodyTimeout 408         ├── Misconfigured 503
├── UrlSearchDisabled 403     ├── UnsupportedMediaType 415├── AnswerTimeout 503
├── Unauthorized 401          ├── ReadOnly 405            └── InternalError 500
├── NotFound 404              └── UnknownHost 421
└── UploadForgotten 410
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class RequestProblem(Exception):
    """A request that is answered with an error. ``members`` are extra members of the problem details."""

    status: int
    code: str
    title: str
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members
        self.headers = dict(headers or {})
        if self.retry_after_s is not None:
            self.headers.setdefault("Retry-After", str(self.retry_after_s))


class InvalidRequest(RequestProblem):
    """A parameter or the body is not what the route takes; ``errors`` lists the faults."""

    status, code, title = 422, "invalid_request", "The request is not valid"

    def __init__(self, detail: str, *, field: str | None = None, **members: Any) -> None:
        errors = [{"field": field, "message": detail}] if field else []
        super().__init__(detail, **{"errors": errors, **members})


class UnreadablePicture(RequestProblem):
    """The bytes are no picture that can be decoded; ``reason`` is the slug of imaging."""

    status, code, title = 422, "unreadable_picture", "The picture can't be read"


class UrlNotAllowed(RequestProblem):
    """The URL, or an address it leads to, is one that is not fetched."""

    status, code, title = 422, "refused_url", "The URL is not one that is fetched"


class UrlNotFetched(RequestProblem):
    """The server behind the URL did not deliver a picture."""

    status, code, title = 422, "url_not_fetched", "The URL could not be fetched"


class UrlSearchDisabled(RequestProblem):
    """``api.search_by_url`` is off."""

    status, code, title = 403, "url_search_disabled", "Searching by URL is switched off"


class Unauthorized(RequestProblem):
    """API keys are asked for, and none or a wrong one was given."""

    status, code, title = 401, "unauthorized", "An API key is needed"


class NotFound(RequestProblem):
    """There is no such thing, or not any more."""

    status, code, title = 404, "not_found", "Not found"


class NotIndexed(RequestProblem):
    """The image is known and has no vector (yet)."""

    status, code, title = 409, "not_indexed", "The image is not indexed"


class UploadForgotten(RequestProblem):
    """The name of an upload leads nowhere (any more): send the picture again."""

    status, code, title = 410, "upload_forgotten", "The upload is not remembered"


class RangeNotSatisfiable(RequestProblem):
    """The asked range lies outside the file."""

    status, code, title = 416, "range_not_satisfiable", "The range lies outside the file"


class TooLarge(RequestProblem):
    """The body or one picture in it has too many bytes."""

    status, code, title = 413, "too_large", "Too many bytes"


class BodyTimeout(RequestProblem):
    """The client took too long to send its body."""

    status, code, title = 408, "body_timeout", "The body took too long"


class UnsupportedMediaType(RequestProblem):
    """The route does not take bodies of this type."""

    status, code, title = 415, "unsupported_media_type", "This type of body is not taken here"


class UnknownHost(RequestProblem):
    """The request names a host that this service does not go by."""

    status, code, title = 421, "unknown_host", "This host is not answered for"


class ReadOnly(RequestProblem):
    """The query service changes nothing."""

    status, code, title = 405, "method_not_allowed", "The method is not allowed here"


class RateLimited(RequestProblem):
    """The client has used up its requests."""

    status, code, title = 429, "rate_limited", "Too many requests"


class Overloaded(RequestProblem):
    """The service has all the work it can hold."""

    status, code, title, retry_after_s = 503, "overloaded", "The service is busy", 1


class AnswerTimeout(RequestProblem):
    """The answer took longer than ``api.request_timeout_s``."""

    status, code, title, retry_after_s = 503, "timeout", "The answer took too long", 5


class Unavailable(RequestProblem):
    """A dependency does not answer; ``dependency`` names it."""

    status, code, title, retry_after_s = 503, "unavailable", "A dependency is away", 5


class Misconfigured(RequestProblem):
    """The operator has to change something first."""

    status, code, title, retry_after_s = 503, "misconfigured", "The service is not set up", 30


class InternalError(RequestProblem):
    """A bug; the log has the request id."""

    status, code, title = 500, "internal", "Internal error"
