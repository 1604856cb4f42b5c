"""What an S3 server is told and answers in headers, from and to our types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import urllib3
from minio.datatypes import Object

from schemas.errors import ObjectStoreOutage, RequestRefused
from schemas.records import ObjectRef, ObjectState
from stores.objects.s3_errors import translated

PIECE_BYTES: Final = 256 * 1024
USER_METADATA: Final = "x-amz-meta-"

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 9110's token."""

type Response = urllib3.BaseHTTPResponse


def put_headers(content_type: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """The headers of a PUT. Raises RequestRefused for values that aren't printable ASCII, and odd names."""
    headers = {"Content-Type": content_type}
    for name, value in metadata.items():
        if not _HEADER_NAME.fullmatch(name):
            raise RequestRefused(f"the metadata name {name[:100]!r} can't be a header's")
        headers[USER_METADATA + name.lower()] = value
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise RequestRefused(f"{name} isn't printable ASCII: {value[:100]!r}")
    return headers


def state_of(ref: ObjectRef, headers: Mapping[str, str]) -> ObjectState:
    """The object's state from the headers of the answer to a HEAD or GET."""
    lower = {name.lower(): value for name, value in headers.items()}
    return ObjectState(
        ref=ref,
        etag=lower.get("etag", "").strip('"'),
        size=int(lower.get("content-length", "0")),
        last_modified=parsedate_to_datetime(lower["last-modified"]).astimezone(UTC),
        content_type=lower.get("content-type", "application/octet-stream"),
        metadata={
            name.removeprefix(USER_METADATA): value for name, value in lower.items() if name.startswith(USER_METADATA)
        },
    )


def listed_state(bucket: str, item: Object) -> ObjectState:
    """The object's state from a line of a listing, equal in fingerprint to that of a HEAD."""
    if item.object_name is None or item.last_modified is None:
        raise ObjectStoreOutage(f"list {bucket}: an entry without a key or a time")
    return ObjectState(
        ref=ObjectRef(bucket, item.object_name),
        etag=(item.etag or "").strip('"'),
        size=item.size or 0,
        # A listing has milliseconds, the answers to HEAD and GET whole seconds.
        last_modified=item.last_modified.astimezone(UTC).replace(microsecond=0),
    )


def next_piece(response: Response, ref: ObjectRef) -> bytes:
    """Bytes as they are stored: urllib3 would unpack an object that was stored with a Content-Encoding."""
    with translated(f"GET {ref}"):
        return response.read(PIECE_BYTES, decode_content=False)


def give_back(response: Response) -> None:
    """Keep the connection if the answer was read to its end, else cut it."""
    response.close()
    response.release_conn()
