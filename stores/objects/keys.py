"""Which buckets and keys can be asked for at all."""

from __future__ import annotations

import re
from typing import Final

from schemas.errors import RequestRefused
from schemas.records import BUCKET_PATTERN, KEY_MAX_BYTES, ObjectRef

_BUCKET: Final = re.compile(BUCKET_PATTERN)


def checked_bucket(bucket: str) -> str:
    """The bucket's name if S3 allows it. Raises RequestRefused."""
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise RequestRefused(f"no bucket can be named {bucket!r}: 3 to 63 of a-z, 0-9, '.' and '-'")
    return bucket


def checked_ref(ref: ObjectRef) -> ObjectRef:
    """The place if it names one object and no other. Raises RequestRefused that says why not.

    HTTP clients and servers normalise paths: asked for ``/a``, MinIO answers with the object ``a``, and urllib3
    turns ``a/../b`` into ``b``. Such keys would make one object look like two.
    """
    checked_bucket(ref.bucket)
    fault = _fault(ref.key)
    if fault:
        raise RequestRefused(f"no object can have the key {ref.key[:100]!r}: {fault}")
    return ref


def _fault(key: str) -> str | None:
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "it can't be written in UTF-8"
    segments = key.split("/")
    faults = {
        "it is empty": not key,
        "it is blank": not key.strip(),
        f"it has {length} bytes in UTF-8, more than {KEY_MAX_BYTES}": length > KEY_MAX_BYTES,
        "it holds a NUL character": "\0" in key,
        "'.' and '..' can't be segments": "." in segments or ".." in segments,
        "a segment is empty ('/' at the start, or '//')": "" in segments[:-1],
    }
    return next((text for text, holds in faults.items() if holds), None)
