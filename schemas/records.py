"""The nouns of Twinlens as frozen values: objects in a bucket, images and contents in the catalog."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Self


class ObjectRef(NamedTuple):
    """A place in an object store: bucket and decoded key."""

    bucket: str
    key: str

    @property
    def image_id(self) -> str:
        """The first 16 bytes of SHA-256 of ``bucket/key``, in hex: the same after any rebuild."""
        return hashlib.sha256(f"{self.bucket}/{self.key}".encode()).hexdigest()[:32]

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"


class ContentId(NamedTuple):
    """Distinct bytes within a bucket, named by their SHA-256 in hex."""

    bucket: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.sha256}"


REQUEST_ID: Final = "request-id"
"""A header of a raw request, and user metadata of the object that it stored: the request's id."""
EXTERNAL_ID: Final = "external-id"
"""Likewise the producer's own id, which is percent-encoded in the metadata."""

EXTERNAL_ID_MAX: Final = 255
BUCKET_PATTERN: Final = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
"""How S3 lets a bucket be named."""
IMAGE_ID_PATTERN: Final = r"^[0-9a-f]{32}$"
SHA256_PATTERN: Final = r"^[0-9a-f]{64}$"
KEY_MAX_BYTES: Final = 1024
"""S3's limit for an object key, in UTF-8."""
URL_MAX_LENGTH: Final = 4096
"""Characters of a URL to be fetched. A presigned one that carries a session token has some 2,000."""
USER_METADATA: Final = "x-amz-meta-"
"""Begins the names of S3's headers for user metadata."""
METADATA_MAX_BYTES: Final = 2048
"""S3's limit for an object's user metadata."""
ANY_TYPE: Final = "application/octet-stream"
"""The content type of an object of which nobody has said what it is."""
UNTYPED: Final = frozenset({"", ANY_TYPE, "binary/octet-stream"})
"""Content types that say nothing of the bytes."""
REASON_MAX: Final = 500
"""Characters of a reason that are kept."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a picture or object was rejected: a stable slug for programs, and perhaps a sentence for people."""

    slug: str
    detail: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reason that ``str()`` gave this text."""
        slug, _, detail = text.partition(": ")
        return cls(slug, detail)

    def __str__(self) -> str:
        """``slug`` or ``slug: detail``, at most ``REASON_MAX`` characters: as rows, messages and the API have it."""
        return f"{self.slug}: {self.detail}"[:REASON_MAX] if self.detail else self.slug


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What the object store says of an object at one moment.

    ``last_modified`` is aware and in UTC; ``size`` is in bytes; ``metadata`` holds the user metadata with
    lower-case names, without the ``x-amz-meta-`` prefix.
    """

    ref: ObjectRef
    etag: str
    size: int
    last_modified: datetime
    content_type: str = ANY_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> tuple[str, int, datetime]:
        """Equal fingerprints mean equal bytes (ETag, size, Last-Modified)."""
        return self.etag, self.size, self.last_modified


class ContentState(StrEnum):
    """Where a content stands on its way into the vector index."""

    PENDING = "pending"
    INDEXED = "indexed"
    REJECTED = "rejected"
    DELETING = "deleting"


class ImageState(StrEnum):
    """What a person is told about one object."""

    PENDING = "pending"
    INDEXED = "indexed"
    REJECTED = "rejected"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A row of ``images``: one object (bucket, key) as the catalog knows it.

    A row without an ETag is a tombstone (or a placeholder that was locked before its first look): the object
    is not there. A row with a ``reason`` was rejected for the object's own sake (size), and has no content.
    ``sequencer`` is that of the announcement after which the object was looked at for this row, if it had one.
    ``retry_due`` is when one that can't be read is tried again.
    """

    id: str
    bucket: str
    key: str
    seq: int = 0
    external_id: str | None = None
    sha256: str | None = None
    etag: str | None = None
    size: int = 0
    last_modified: datetime | None = None
    content_type: str = ANY_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)
    reason: Reason | None = None
    sequencer: str | None = None
    version: int = 0
    published_version: int = 0
    published_state: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    publish_due: datetime | None = None
    retry_due: datetime | None = None

    @property
    def ref(self) -> ObjectRef:
        """The object that this row stands for."""
        return ObjectRef(self.bucket, self.key)

    @property
    def exists(self) -> bool:
        """Whether the object was in the bucket at the last look."""
        return self.etag is not None

    @property
    def content_id(self) -> ContentId | None:
        """The content that the row refers to, if any."""
        return ContentId(self.bucket, self.sha256) if self.sha256 else None

    @property
    def fingerprint(self) -> tuple[str | None, int, datetime | None]:
        """Comparable with :attr:`ObjectState.fingerprint`."""
        return self.etag, self.size, self.last_modified


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A content that was near another when that one was indexed; ``score`` is 0 to 100.

    ``copy_threshold`` is that of the model which gave the score: another one has another scale. None is of before it
    was kept.
    ``verified`` is whether their local features say that one is a copy of the other; None where nobody looked.
    """

    sha256: str
    score: float
    copy_threshold: float | None = None
    verified: bool | None = None


@dataclass(frozen=True, slots=True)
class ContentRecord:
    """A row of ``contents``: distinct bytes, their state in the index, and what was learnt of the picture.

    ``model`` names the model that an indexed content was embedded with (see ``schemas.collection.model_name``), and
    ``other_model`` another one, if the content's vector is in that one's collection, too;
    ``limits`` names the limits under which a rejected one was refused; ``indexed_at`` is when it was indexed or
    rejected. ``dirty_since`` is set while the index may not agree with the row yet. ``retired`` are vector ids
    that the content had before and whose vectors may still be there. ``retry_due`` is when one is tried again of
    which no object could be read. ``decoded_share`` is how much there is (to 1, of the height) of a picture whose file
    was cut short; None of a whole one.
    """

    bucket: str
    sha256: str
    vector_id: int
    state: ContentState = ContentState.PENDING
    md5: str | None = None
    reason: Reason | None = None
    limits: str | None = None
    attempts: int = 0
    model: str | None = None
    version: int = 0
    dirty_since: datetime | None = None
    resend_due: datetime | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    nearest: tuple[Neighbour, ...] = ()
    created_at: datetime | None = None
    indexed_at: datetime | None = None
    retired: tuple[int, ...] = ()
    retry_due: datetime | None = None
    other_model: str | None = None
    decoded_share: float | None = None

    @property
    def id(self) -> ContentId:
        """Bucket and SHA-256."""
        return ContentId(self.bucket, self.sha256)


class RequestResult(StrEnum):
    """What became of a producer's request."""

    STORED = "stored"
    SUPERSEDED = "superseded"
    LOOKED = "looked"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A row of ``requests``: a request id that was seen, and its outcome once there is one.

    ``expected`` is the object as it was when the request was first taken up: ``{}`` for none, else its ETag,
    Last-Modified and request id. A later attempt that finds anything else knows that somebody came in between.
    """

    request_id: str
    outcome: RequestResult | None = None
    reason: str | None = None
    ref: ObjectRef | None = None
    expected: Mapping[str, str] | None = None
    occurred_at: datetime | None = None
    publish_due: datetime | None = None
    created_at: datetime | None = None
