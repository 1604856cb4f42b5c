"""What an S3 server's or the network's complaint means for Twinlens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from xml.etree.ElementTree import ParseError

import aiohttp
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from schemas.errors import ObjectStoreOutage, PreconditionFailed, RequestRefused, TwinlensError

_REFUSED: Final = frozenset(
    {
        "EntityTooLarge",
        "InvalidArgument",
        "InvalidBucketName",
        "InvalidObjectName",
        "KeyTooLongError",
        "MetadataTooLarge",
        "XMinioInvalidObjectName",
    }
)
"""The request itself can't be carried out, however often it is sent."""

_LOST: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})

_TROUBLES: Final = (MinioException, HTTPError, aiohttp.ClientError, TimeoutError, ParseError)
"""What the clients raise when the server or the network does not answer as it should; minio-py parses any XML."""


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn errors of minio-py, urllib3 and aiohttp into ours; ``what`` names the call in the text.

    Refused credentials count as an outage too: while they are rotated, waiting is right, and giving messages up
    is not. MinIO says AccessDenied even when its disk has gone.
    """
    try:
        yield
    except S3Error as error:
        raise verdict(error.code, f"{what}: {error.code}: {error.message}") from error
    except _TROUBLES as error:
        raise ObjectStoreOutage(f"{what}: {str(error) or type(error).__name__}") from error


def verdict(code: str | None, text: str) -> TwinlensError:
    """Our error for one of the server's; without a code it is an outage, since no S3 server speaks so."""
    if code in _LOST:
        return PreconditionFailed(text)
    if code in _REFUSED:
        return RequestRefused(text)
    return ObjectStoreOutage(text)
