"""What an S3 server's or the network's complaint means for Twinlens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final
from xml.etree.ElementTree import ParseError

import aiohttp
import urllib3
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from schemas.errors import TIMEOUT, ObjectStoreOutage, PreconditionFailed, RequestRefused, TwinlensError

_REFUSED: Final = frozenset(
    {
        "EntityTooLarge",
        "InvalidArgument",
        "InvalidBucketName",
        "InvalidObjectName",
        "KeyTooLongError",
        "MetadataTooLarge",
        "XMinioInvalidObjectName",
        "XMinioInvalidResourceName",
    }
)
"""The request itself can't be carried out, however often it is sent."""

_LOST: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})

_OURSELVES: Final = frozenset({"InvalidAccessKeyId", "RequestTimeTooSkewed", "SignatureDoesNotMatch"})
"""The server refuses us, whatever we ask for: while credentials are rotated, waiting is right."""

ERROR_CODE_HEADER: Final = "x-minio-error-code"
"""MinIO's answer to a HEAD that fails: the error code, for which the answer has no body. Other servers have none."""

_DEFINITE: Final = range(400, 500)
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})

_TROUBLES: Final = (MinioException, HTTPError, aiohttp.ClientError, TimeoutError, ParseError)
"""What the clients raise when the server or the network does not answer as it should; minio-py parses any XML."""

_NO_ANSWER: Final = (TimeoutError, urllib3.exceptions.TimeoutError)
_NO_CONNECTION: Final = (aiohttp.ConnectionTimeoutError, urllib3.exceptions.ConnectTimeoutError)
"""Timeouts, too, by their classes, even where a connection is refused."""


@contextmanager
def translated_s3_errors(what: str) -> Iterator[None]:
    """Turn errors of minio-py, urllib3 and aiohttp into ours; ``what`` names the call in the text.

    Whatever is refused counts as an outage at first: MinIO says AccessDenied even when its disk has gone. How far it
    reaches is found out by whoever asked.
    """
    try:
        yield
    except S3Error as error:
        code = error.response.headers.get(ERROR_CODE_HEADER, error.code)
        raise error_of(error.response.status, code, f"{what}: {code}: {error.message}") from error
    except _TROUBLES as error:
        code = (
            TIMEOUT if isinstance(error, _NO_ANSWER) and not isinstance(error, _NO_CONNECTION) else "ConnectionBroken"
        )
        raise ObjectStoreOutage(f"{what}: {str(error) or type(error).__name__}", code=code) from error


def error_of(status: int, code: str | None, text: str) -> TwinlensError:
    """Our error for one of the server's; without a code it is nothing definite, since no S3 server speaks so."""
    if code in _LOST:
        return PreconditionFailed(text)
    if code in _REFUSED:
        return RequestRefused(text)
    definite = code not in {None, *_OURSELVES} and status in _DEFINITE and status not in _PASSING
    return ObjectStoreOutage(text, code=code or f"Http{status}", definite=definite)
