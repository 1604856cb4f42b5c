"""What an S3 server's or the network's complaint means for Twinlens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

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


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn errors of minio-py and urllib3 into ours; ``what`` names the call in the text.

    Refused credentials count as an outage too: while they are rotated, waiting is right, and giving messages up
    is not. MinIO says AccessDenied even when its disk has gone.
    """
    try:
        yield
    except S3Error as error:
        raise verdict(error, what) from error
    except (MinioException, HTTPError) as error:
        raise ObjectStoreOutage(f"{what}: {error}") from error


def verdict(error: S3Error, what: str) -> TwinlensError:
    """Our error for one of the server's."""
    text = f"{what}: {error.code}: {error.message}"
    if error.code in _LOST:
        return PreconditionFailed(text)
    if error.code in _REFUSED:
        return RequestRefused(text)
    return ObjectStoreOutage(text)
