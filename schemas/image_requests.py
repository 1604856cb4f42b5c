"""What an external producer may ask for: the JSON form and the raw form of an image request."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from unicodedata import category

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from schemas.collection import BUCKET_MAX_LENGTH
from schemas.errors import MalformedMessage, RequestRefused
from schemas.messages import Message, first_fault, load_json
from schemas.records import EXTERNAL_ID, EXTERNAL_ID_MAX, KEY_MAX_BYTES, REQUEST_ID, URL_MAX_LENGTH


def _storable_id(value: str) -> str:
    if value != value.strip() or any(category(char) == "Cc" for char in value):
        raise ValueError("an id has no space at its ends and no control characters")
    return value


RequestId = Annotated[
    str,
    Field(min_length=1, max_length=255, description="No space at the ends, no control characters."),
    AfterValidator(_storable_id),
]
"""SQL thinks that two texts that differ only in spaces at their end are the same."""

_REQUEST_ID: TypeAdapter[str] = TypeAdapter(RequestId)

RAW_HEADERS = frozenset({REQUEST_ID, EXTERNAL_ID, "key", "bucket", "content-type"})
"""The headers of the raw form, whose value is the file itself."""

METADATA_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,127}$")
RESERVED_METADATA = frozenset({REQUEST_ID, EXTERNAL_ID})


class ImageRequest(Message):
    """``put`` stores an object, from where the usual path takes it; ``look`` asks to look at a key again.

    A ``put`` carries its bytes in exactly one of ``content_base64`` and ``url``. ``bucket`` defaults to the
    configured one. ``metadata`` becomes user metadata of the object: lower-case ASCII names, ASCII values.
    """

    request_id: RequestId
    op: Literal["put", "look"] = "put"
    bucket: Annotated[str, Field(min_length=1, max_length=BUCKET_MAX_LENGTH)] | None = None
    key: Annotated[str, Field(min_length=1, max_length=KEY_MAX_BYTES)]
    content_base64: str | None = None
    url: Annotated[str, Field(max_length=URL_MAX_LENGTH)] | None = None
    content_type: Annotated[str, Field(max_length=255, pattern=r"^[\x20-\x7e]+$")] | None = None
    external_id: Annotated[str, Field(max_length=EXTERNAL_ID_MAX)] | None = None
    metadata: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = [source for source in (self.content_base64, self.url) if source is not None]
        if self.op == "put" and len(sources) != 1:
            raise ValueError("a put needs exactly one of content_base64 and url")
        if self.op == "look" and sources:
            raise ValueError("a look carries no content")
        return self

    @model_validator(mode="after")
    def _storable_metadata(self) -> Self:
        for name, value in self.metadata.items():
            if not METADATA_NAME.match(name) or name in RESERVED_METADATA:
                raise ValueError(f"metadata name {name!r} can't be used")
            if not value.isascii() or not value.isprintable():
                raise ValueError(f"metadata value of {name!r} is not printable ASCII")
        return self

    def content(self) -> bytes | None:
        """The bytes that came in the message, or None for a URL or a look. Raises RequestRefused for broken base64."""
        if self.content_base64 is None:
            return None
        try:
            return base64.b64decode(self.content_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RequestRefused(f"content_base64 is not base64: {error}") from error


class InvalidImageRequest(RequestRefused):
    """A request with an id that can be answered, and a fault that makes it impossible to carry out."""

    def __init__(self, request_id: str, reason: str) -> None:
        super().__init__(reason)
        self.request_id = request_id


class RawRequest(ImageRequest):
    """The raw form: the fields come from the headers and ``data`` is the file."""

    data: bytes = b""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        return self

    def content(self) -> bytes | None:
        """The message's value."""
        return self.data


def parse_image_request(value: bytes | None, headers: Mapping[str, bytes | None]) -> ImageRequest:
    """A request in either form: raw if it has a ``request-id`` header, else JSON.

    Headers may be null. Raises InvalidImageRequest where the request id could be read, so that its producer gets an
    answer, and MalformedMessage where not even that.
    """
    if REQUEST_ID in headers:
        return _parse_raw(value, headers)
    document = load_json(value)
    if not isinstance(document, dict):
        raise MalformedMessage("an image request is a JSON object")
    return _validated(ImageRequest, document)


def _parse_raw(value: bytes | None, headers: Mapping[str, bytes | None]) -> RawRequest:
    # Kafka's headers may be null.
    found = {name: headers[name] or b"" for name in RAW_HEADERS & headers.keys()}
    fields: dict[str, Any] = {name.replace("-", "_"): _text(data) for name, data in found.items()}
    return _validated(RawRequest, {"data": value or b"", **fields})


def _text(data: bytes) -> str | bytes:
    """The text of a header; one that is not UTF-8 stays as it is, and is no valid field."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _validated[T: ImageRequest](model: type[T], fields: dict[str, Any]) -> T:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        reason = first_fault(error)
        try:
            request_id = _REQUEST_ID.validate_python(fields.get("request_id"))
        except ValidationError:
            raise MalformedMessage(f"no image request: {reason}") from error
        raise InvalidImageRequest(request_id, reason) from error
