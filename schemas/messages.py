"""The Kafka messages as frozen models, and the parsing of S3 event records.

Compatibility within a version: fields may be added with a default; none is removed, renamed or given another
meaning. Readers ignore fields that they do not know, and refuse versions that they do not know.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import quote_plus, unquote_plus

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from schemas.collection import BUCKET_MAX_LENGTH
from schemas.errors import MalformedMessage
from schemas.records import SHA256_PATTERN, USER_METADATA, ContentId, ImageState, ObjectRef, RequestResult
from schemas.similarity import Verdict
from schemas.tracing import TRACEPARENT, valid

VERSION = 1
"""The version of all messages: their ``schema`` field."""

MAX_STRUCTURE = 50_000
"""Opening brackets and braces, commas and quotes of a message, within strings too, may be so many together.

Each value but the first of a list or an object is behind a comma, so that the values are bounded, of which each takes
some hundred bytes of memory. A text of many quotes or commas is refused with them, which no message needs.
"""
_STRUCTURE = (b"[", b"{", b",", b'"')

Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]


class Message(BaseModel):
    """A versioned JSON message."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")

    @field_validator("schema_version", mode="before")
    @classmethod
    def _known_version(cls, value: Any) -> Any:
        if isinstance(value, bool) or value != VERSION:
            is_plain = value is None or isinstance(value, str | int | float)
            shown = json.dumps(value)[:100] if is_plain else f"of type {type(value).__name__}"
            raise ValueError(f"schema {shown} is not one that this version of Twinlens understands ({VERSION})")
        return VERSION

    @classmethod
    def decode(cls, value: bytes | None) -> Self:
        """Parse one message. Raises MalformedMessage for null, not JSON, an unknown version or a wrong field."""
        try:
            return cls.model_validate(load_json(value))
        except ValidationError as error:
            raise MalformedMessage(f"no valid {cls.__name__}: {first_fault(error)}") from error

    def encode(self) -> bytes:
        """JSON in UTF-8."""
        return self.model_dump_json().encode()


def first_fault(error: ValidationError) -> str:
    """Where the most telling fault lies and what it is, in words: an unknown version explains all others."""
    faults = error.errors(include_url=False, include_input=False)
    fault = min(faults, key=lambda fault: _FAULT_RANKS.get(fault["loc"], len(_FAULT_RANKS)))
    words = fault["msg"].removeprefix("Value error, ")
    place = ".".join(str(part) for part in fault["loc"])
    return words if place in {"", "schema"} else f"{place}: {words}"


_FAULT_RANKS: dict[tuple[int | str, ...], int] = {("schema",): 0, ("request_id",): 1}


def load_json(value: bytes | None) -> Any:
    """The JSON value of a message. Raises MalformedMessage, also for too many parts or too deep a nesting."""
    if value is None:
        raise MalformedMessage("the message has no value")
    if sum(map(value.count, _STRUCTURE)) > MAX_STRUCTURE:
        raise MalformedMessage(f"JSON of more than {MAX_STRUCTURE:,} parts")
    try:
        # Not by pydantic's parser: it takes no text with half a surrogate pair, whose sender would get no answer.
        return json.loads(value.decode())
    except ValueError as error:
        raise MalformedMessage(f"not JSON in UTF-8: {error}") from error
    except RecursionError as error:
        raise MalformedMessage("JSON is nested too deep") from error


class ContentChanged(Message):
    """Make the index agree about one content.

    ``verify`` asks to look its vector up even if it is indexed, ``retry`` to try again even if it was rejected under
    the same limits.
    """

    bucket: Annotated[str, Field(min_length=1, max_length=BUCKET_MAX_LENGTH)]
    sha256: Sha256
    verify: bool = False
    retry: bool = False
    event_time: AwareDatetime | None = None
    """When the object store announced the change that led here; for the event-to-searchable histogram."""

    @property
    def content_id(self) -> ContentId:
        """What the message is about."""
        return ContentId(self.bucket, self.sha256)

    def merged(self, earlier: ContentChanged) -> ContentChanged:
        """This message with what an earlier one about the same content asks for, and since when."""
        return self.model_copy(
            update={
                "verify": self.verify or earlier.verify,
                "retry": self.retry or earlier.retry,
                "event_time": earlier.event_time or self.event_time,
            }
        )


class NearestImage(BaseModel):
    """A known picture near a changed one. ``score`` is 0 to 100.

    ``verified`` is whether local features of both say that one is a copy of the other, or of a part of it; null where
    that was not looked at, or could not be.
    """

    model_config = ConfigDict(frozen=True)

    image_id: str
    bucket: str
    key: str
    score: float
    verdict: Verdict
    verified: bool | None = None


class ImageChanged(Message):
    """A snapshot of one image. ``version`` only rises per key; the last snapshot per key is the truth."""

    version: int
    state: ImageState
    image_id: str
    bucket: str
    key: str
    external_id: str | None = None
    sha256: str | None = None
    duplicate: bool = False
    """Whether another object in the bucket has the same bytes."""
    partial: bool = False
    """Whether its file was cut short, and what is there of it was indexed."""
    decoded_share: float | None = None
    """Of a partial one, how much of its height is there."""
    reason: str | None = None
    request_id: str | None = None
    nearest: tuple[NearestImage, ...] = ()
    occurred_at: AwareDatetime


class RequestOutcome(Message):
    """The one final outcome of a request; repeated only as an identical message."""

    request_id: str
    outcome: RequestResult
    reason: str | None = None
    image_id: str | None = None
    bucket: str | None = None
    key: str | None = None
    occurred_at: AwareDatetime


DEAD_LETTER_HEADERS = "dead-letter-"
"""Begins the names of the headers that say of a dead letter where it came from, and why."""

MAX_EVENT_TEXT = 64
"""A sequencer or ETag of an event that is longer counts as missing. MinIO's have 16, and at most 38 characters."""


MAX_SIZE = 2**63 - 1
"""The largest size in bytes that a database column holds; one that is larger counts as missing."""


CREATED_EVENTS = "s3:ObjectCreated:"
REMOVED_EVENTS = "s3:ObjectRemoved:"
"""How the names of S3's events begin."""
PUT_EVENT = f"{CREATED_EVENTS}Put"
"""The only one whose object's metadata tells of its own request: a copy has those of its original."""
DELETE_EVENT = f"{REMOVED_EVENTS}Delete"
OBJECT_MOVED_ON = "twinlens:ObjectMovedOn"
"""Our own hint that the bytes of an object are not those which its row names."""
TEST_EVENT = "s3:TestEvent"
"""What AWS and servers like it announce when announcing begins; it names no object."""
IMITATED_SOURCE = "aws:s3"
"""MinIO names itself. Servers that pretend to be AWS follow it less closely: versitygw does not encode keys, and counts
what it announces anew from each of its starts."""


class ObjectHint(NamedTuple):
    """What remains of an S3 event record: look at this object. ``event_time`` is when it was announced.

    ``sequencer``, ``etag`` and ``size`` (bytes) tell two announcements of one change from those of two changes. Each
    is None where the record has none that can be read.
    """

    ref: ObjectRef
    event_time: datetime | None = None
    sequencer: str | None = None
    etag: str | None = None
    size: int | None = None
    removed: bool = False
    """Whether the event says so; the object may be there again."""
    reread: bool = False
    """Whether to read the bytes even of an object that looks like its row: the digest there may be wrong."""
    trace: str | None = None
    """The traceparent of the request that stored the object, or of the message that this comes from."""


def parse_bucket_event(value: bytes | None) -> list[ObjectHint]:
    """The hints of one S3 event message (AWS event structure 2.x, as MinIO sends it).

    Keys arrive URL-encoded with ``+`` for a space; from a server that may not encode them, both readings are hints.
    Raises MalformedMessage.
    """
    event = load_json(value)
    if isinstance(event, dict) and event.get("Event") == TEST_EVENT:
        return []
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not records:
        raise MalformedMessage("no S3 event: it has no Records")
    return [hint for record in records for hint in _hints(record)]


def _hints(record: Any) -> list[ObjectHint]:
    try:
        imitated = record.get("eventSource") == IMITATED_SOURCE
        bucket = record["s3"]["bucket"]["name"]
        entry = record["s3"]["object"]
        keys = _readings(entry["key"]) if imitated else [unquote_plus(entry["key"], errors="strict")]
        for text in (bucket, *keys):
            text.encode()
    except (KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise MalformedMessage(f"an S3 event record without a readable bucket and key: {error!r}") from error
    if not isinstance(bucket, str) or not bucket or not all(keys):
        raise MalformedMessage("an S3 event record with an empty bucket or key")
    event_name, size = record.get("eventName"), entry.get("size")
    return [
        ObjectHint(
            ObjectRef(bucket, key),
            _event_time(record.get("eventTime")),
            sequencer=None if imitated else _event_text(entry.get("sequencer")),
            etag=_event_text(entry.get("eTag")),
            size=size if type(size) is int and 0 <= size <= MAX_SIZE else None,
            removed=isinstance(event_name, str) and event_name.startswith(REMOVED_EVENTS),
            reread=event_name == OBJECT_MOVED_ON,
            trace=_trace(entry.get("userMetadata")) if event_name == PUT_EVENT else None,
        )
        for key in keys
    ]


def _trace(metadata: Any) -> str | None:
    """The traceparent in an object's metadata, as a request left it there."""
    entries = metadata.items() if isinstance(metadata, dict) else ()
    found = [text for name, text in entries if name.lower() == USER_METADATA + TRACEPARENT and isinstance(text, str)]
    return valid(found[0]) if found else None


def _readings(written: str) -> list[str]:
    """The key that was encoded as this, and the key that this is; one if they are the same."""
    try:
        decoded = unquote_plus(written, errors="strict")
    except UnicodeDecodeError:
        return [written]
    return [decoded] if decoded == written else [decoded, written]


def _event_text(text: Any) -> str | None:
    """A short text of an event, or None: what it says only saves work, so that a broken one is no reason to refuse."""
    readable = isinstance(text, str) and 0 < len(text) <= MAX_EVENT_TEXT and text.isascii() and text.isprintable()
    return text if readable else None


def _event_time(text: Any) -> datetime | None:
    """A time that can't be read is no reason to refuse a hint: it only feeds a histogram."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def bucket_event(
    ref: ObjectRef, *, event_name: str, event_time: datetime, sequencer: str | None = None, etag: str | None = None
) -> bytes:
    """An S3 event message with one record, as MinIO would send it; ``event_name`` says who sends it really.

    Without a ``sequencer``, as in our own hints, the event can't be taken for one that was looked at already.
    """
    entry = {"key": quote_plus(ref.key), "eTag": etag, "sequencer": sequencer}
    record = {
        "eventVersion": "2.0",
        "eventSource": "twinlens",
        "eventTime": event_time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "eventName": event_name,
        "s3": {"bucket": {"name": ref.bucket}, "object": {name: value for name, value in entry.items() if value}},
    }
    return json.dumps({"EventName": event_name, "Key": str(ref), "Records": [record]}).encode()


def encode_key(parts: ObjectRef | ContentId) -> bytes:
    """The Kafka key of messages about an object (``bucket/key``) or a content (``bucket/sha256``)."""
    return f"{parts[0]}/{parts[1]}".encode()
