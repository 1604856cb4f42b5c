"""Queries that need no upload, as JSON names them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from query_api.errors import InvalidRequest
from query_api.http.problems import invalid
from query_api.pictures.remembered import MAX_NAME_LENGTH
from schemas.collection import BUCKET_MAX_LENGTH
from schemas.records import IMAGE_ID_PATTERN, KEY_MAX_BYTES, URL_MAX_LENGTH

MAX_DIMENSIONS = 4096
_MOST_MEMBERS = 2
"""Of a query: a bucket and a key."""


class _Named(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ByImage(_Named):
    """An indexed image, by its id."""

    image_id: str = Field(pattern=IMAGE_ID_PATTERN)


class ByKey(_Named):
    """An indexed image, by its bucket and key."""

    bucket: str = Field(min_length=1, max_length=BUCKET_MAX_LENGTH)
    key: str = Field(min_length=1, max_length=KEY_MAX_BYTES)


class ByUrl(_Named):
    """A picture somewhere on the web. Off by default."""

    url: str = Field(min_length=1, max_length=URL_MAX_LENGTH)


class ByUpload(_Named):
    """A picture that an answer gave a name to (`remember=true`)."""

    upload: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)


class ByVector(_Named):
    """A vector of the live model (512 numbers for sscd); it is scaled to length 1."""

    vector: list[float] = Field(min_length=1, max_length=MAX_DIMENSIONS)


NamedQuery = ByImage | ByKey | ByUrl | ByUpload | ByVector
_QUERY: TypeAdapter[NamedQuery] = TypeAdapter(NamedQuery)


class NamedQueries(_Named):
    """Queries that need no upload: what the API's description says of such a body. Their number is a setting."""

    queries: list[NamedQuery] = Field(min_length=1)


def parse_queries(body: bytes, *, most: int) -> list[NamedQuery]:
    """The first query that is wrong is told. What is of another shape is refused before it is validated: each name too
    many would be a fault for each kind of query, 2 MB of which took 2.7 s and 900 MiB.
    """
    try:
        given = from_json(body)
    except ValueError as error:
        raise InvalidRequest(f"The body is no JSON: {error}", field="body") from error
    listed = given.get("queries") if isinstance(given, dict) and len(given) == 1 else None
    if not isinstance(listed, list) or not listed:
        raise InvalidRequest("The body has one member, `queries`, a list of at least one query.", field="body.queries")
    if len(listed) > most:
        raise InvalidRequest(f"At most {most} queries can be asked at once.", field="body.queries")
    return [_query(each, f"body.queries.{n}") for n, each in enumerate(listed)]


def _query(given: Any, field: str) -> NamedQuery:
    if not isinstance(given, dict) or not 0 < len(given) <= _MOST_MEMBERS:
        raise InvalidRequest(
            "A query has an `image_id`, a `bucket` and a `key`, a `url`, an `upload`, or a `vector`.", field=field
        )
    if any(len(value) > MAX_DIMENSIONS for value in given.values() if isinstance(value, list)):
        raise InvalidRequest(f"A vector has at most {MAX_DIMENSIONS} numbers.", field=f"{field}.vector")
    try:
        return _QUERY.validate_python(given)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False), within=field) from error
