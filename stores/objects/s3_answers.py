"""What an S3 server is told and answers in headers, from and to our types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from xml.etree.ElementTree import ParseError

import aiohttp
import urllib3
from minio.datatypes import Object
from minio.error import S3Error

from schemas.errors import ObjectStoreOutage, RequestRefused
from schemas.records import ANY_TYPE, USER_METADATA, ObjectRef, ObjectState

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 9110's token."""


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


def state_of(ref: ObjectRef, answer: aiohttp.ClientResponse) -> ObjectState:
    """The object's state from the headers of the answer to a HEAD or GET, which are Latin-1 as HTTP has it.

    Raises ObjectStoreOutage for an answer that no S3 server gives, such as a proxy's page.
    """
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.raw_headers}
    try:
        return ObjectState(
            ref=ref,
            etag=headers.get("etag", "").strip('"'),
            size=int(headers["content-length"]),
            last_modified=parsedate_to_datetime(headers["last-modified"]).astimezone(UTC),
            content_type=headers.get("content-type", ANY_TYPE),
            metadata={
                name.removeprefix(USER_METADATA): value
                for name, value in headers.items()
                if name.startswith(USER_METADATA)
            },
        )
    except (KeyError, ValueError) as error:
        raise ObjectStoreOutage(f"{answer.method} {ref}: no S3 answer: its headers lack or garble {error}") from error


def complaint_of(answer: aiohttp.ClientResponse, body: bytes) -> tuple[str | None, str]:
    """The S3 error code of an answer, if it has one, and what is to be said of it."""
    if answer.content_type == "application/xml":
        try:
            error = S3Error.fromxml(urllib3.HTTPResponse(body, status=answer.status))
        except (ParseError, ValueError):
            pass
        else:
            return error.code, f"{error.code}: {error.message}"
    return None, f"HTTP {answer.status} {answer.reason}"


def state_of_listing(bucket: str, item: Object) -> ObjectState:
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
