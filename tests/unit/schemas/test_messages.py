"""Parsing what comes from Kafka: S3 events from any server, and our own messages, however broken."""

from __future__ import annotations

import json
import time
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import MalformedMessage
from schemas.messages import (
    MAX_EVENT_TEXT,
    MAX_SIZE,
    ContentChanged,
    ImageChanged,
    ObjectHint,
    bucket_event,
    encode_key,
    load_json,
    parse_bucket_event,
)
from schemas.records import ContentId, ImageState, ObjectRef
from tests.harness.fuzzing import fuzz, fuzz_settings

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def event(key: Any = "k", bucket: Any = "pictures", *, entry: dict[str, Any] | None = None, **record: Any) -> bytes:
    """An S3 event with one record; ``entry`` is what it says of its object beside the key."""
    described = {"key": key, **(entry or {})}
    return json.dumps({"Records": [{"s3": {"bucket": {"name": bucket}, "object": described}, **record}]}).encode()


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("100%25", "100%"),
        ("%C3%BC.jpg", "ü.jpg"),
        ("ü.jpg", "ü.jpg"),
        ("%F0%9F%A6%8A.png", "🦊.png"),
        ("a/b/c", "a/b/c"),
        ("a%2Fb", "a/b"),
        ("%00", "\0"),
    ],
)
def test_keys_arrive_url_encoded(encoded: str, key: str) -> None:
    """A plus is a space, percent escapes are UTF-8, and what needs no escape may come as it is."""
    assert parse_bucket_event(event(encoded))[0].ref == ObjectRef("pictures", key)


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        ("a b.png", ["a b.png"]),
        ("a+b.png", ["a b.png", "a+b.png"]),
        ("100%25", ["100%", "100%25"]),
        ("100%/a.png", ["100%/a.png"]),
        ("%FF.png", ["%FF.png"]),
    ],
)
def test_a_server_that_may_not_encode_keys_is_read_both_ways(written: str, keys: list[str]) -> None:
    """A hint too many costs one look; and its numbers are not taken for unique."""
    hints = parse_bucket_event(event(written, eventSource="aws:s3", entry={"sequencer": "1"}))
    assert [(hint.ref.key, hint.sequencer) for hint in hints] == [(key, None) for key in keys]


def test_the_announcement_that_announcing_begins_is_about_nothing() -> None:
    """As versitygw sends it at each start."""
    assert parse_bucket_event(b'{"Service":"S3","Event":"s3:TestEvent","Bucket":"Test-Bucket"}') == []


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.datetimes(timezones=st.just(UTC)))
def test_our_own_events_are_read_back(key: str, moment: datetime) -> None:
    """Whatever key we announce is the key that we read, and the time to the millisecond."""
    hint = parse_bucket_event(bucket_event(ObjectRef("pictures", key), event_name="test", event_time=moment))[0]
    assert hint.ref == ObjectRef("pictures", key)
    assert hint.event_time == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_an_event_may_hold_several_records() -> None:
    """Each record is a hint of its own, in order."""
    records = [json.loads(event(key))["Records"][0] for key in "ab"]
    hints = parse_bucket_event(json.dumps({"Records": records}).encode())
    assert [hint.ref.key for hint in hints] == ["a", "b"]


@pytest.mark.parametrize("moment", [None, 5, "", "yesterday", "2026-13-01", ["2026-01-01"], "9999-99-99T99:99:99Z"])
def test_a_time_that_cannot_be_read_is_no_fault(moment: Any) -> None:
    """The event's time feeds a histogram only."""
    assert parse_bucket_event(event(eventTime=moment))[0].event_time is None


def test_the_time_of_minio_is_read() -> None:
    """As MinIO writes it; a time without a zone is UTC."""
    assert parse_bucket_event(event(eventTime="2026-01-02T03:04:05.678Z"))[0].event_time == NOW
    assert parse_bucket_event(event(eventTime="2026-01-02T03:04:05.678"))[0].event_time == NOW


def test_a_record_tells_which_change_it_announces() -> None:
    """Sequencer, ETag and size are read as MinIO writes them, and tell one change from the next."""
    entry = {"size": 5, "eTag": "4b3a6218bb3e3a7303e8a171a60fcf92", "sequencer": "18EB3BCF8C59A5C1"}
    [hint] = parse_bucket_event(event(entry=entry, eventName="s3:ObjectCreated:Put"))
    assert (hint.sequencer, hint.etag, hint.size) == (entry["sequencer"], entry["eTag"], entry["size"])
    assert not hint.removed


@pytest.mark.parametrize(
    ("event_name", "removed"),
    [
        ("s3:ObjectRemoved:Delete", True),
        ("s3:ObjectRemoved:DeleteMarkerCreated", True),
        ("s3:ObjectRemoved:NoOP", True),
        ("s3:ObjectCreated:Put", False),
        ("s3:ObjectRemovedOrNot", False),
        ("twinlens:Retry", False),
        (None, False),
        (["s3:ObjectRemoved:Delete"], False),
    ],
)
def test_a_removal_is_told_by_the_name_of_the_event(event_name: Any, removed: bool) -> None:
    """Every kind of removal counts, and nothing else does."""
    assert parse_bucket_event(event(eventName=event_name))[0].removed is removed


@pytest.mark.parametrize("value", [None, "", 5, True, ["x"], {"x": 1}, "x" * 65, "\ud800", "ü", "a\nb"])
def test_a_text_that_is_no_identifier_counts_as_missing(value: Any) -> None:
    """A broken sequencer or ETag only loses its use; the object is looked at all the same."""
    [hint] = parse_bucket_event(event(entry={"sequencer": value, "eTag": value}))
    assert hint == ObjectHint(ObjectRef("pictures", "k"))


@pytest.mark.parametrize("value", [None, "5", 5.0, True, -1, 2**63, [5]])
def test_a_size_that_is_no_number_of_bytes_counts_as_missing(value: Any) -> None:
    """A broken size only loses its use."""
    assert parse_bucket_event(event(entry={"size": value}))[0].size is None


def test_identifiers_up_to_the_bound_are_read() -> None:
    """The bounds are what they say."""
    [hint] = parse_bucket_event(event(entry={"sequencer": "x" * 64, "eTag": "y" * 64, "size": 2**63 - 1}))
    assert (hint.sequencer, hint.etag, hint.size) == ("x" * 64, "y" * 64, 2**63 - 1)


def test_our_own_events_name_a_change_only_if_they_are_told_one() -> None:
    """A hint of ours is never mistaken for an announcement that was looked at already."""
    ref = ObjectRef("pictures", "k")
    [plain] = parse_bucket_event(bucket_event(ref, event_name="test", event_time=NOW))
    assert (plain.sequencer, plain.etag, plain.size) == (None, None, None)
    named = bucket_event(ref, event_name="s3:ObjectRemoved:Delete", event_time=NOW, sequencer="18EB", etag="4b3a")
    assert parse_bucket_event(named) == [ObjectHint(ref, NOW, sequencer="18EB", etag="4b3a", removed=True)]


MALFORMED = {
    "null": None,
    "nothing": b"",
    "no JSON": b"{",
    "not UTF-8": b"\xff\xfe\x00",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a number": b"5",
    "a list": b"[]",
    "no records": b"{}",
    "empty records": b'{"Records": []}',
    "records that are no list": b'{"Records": {"a": 1}}',
    "a record that is null": b'{"Records": [null]}',
    "a record that is a text": b'{"Records": ["s3"]}',
    "a bucket that is a number": event(bucket=5),
    "an empty bucket": event(bucket=""),
    "a bucket that can't be encoded": event(bucket="\ud800"),
    "a key that is null": event(None),
    "a key that is a number": event(5),
    "a key that is a list": event(["k"]),
    "an empty key": event(""),
    "a key whose escapes are not UTF-8": event("%FF%FE"),
    "a key with half a surrogate": event("\ud800"),
    "a key with an escaped surrogate": event("%ED%A0%80"),
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "unbalanced brackets": b"[" * 1_000_000,
    "a giant number": b'{"Records": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("what", sorted(MALFORMED))
def test_malformed_events_are_refused(what: str) -> None:
    """One kind of error for all that can't be understood, whatever it is."""
    with pytest.raises(MalformedMessage):
        parse_bucket_event(MALFORMED[what])


def test_brackets_within_text_are_no_nesting() -> None:
    """A key full of brackets is a key."""
    key = "[{" * 500 + '"' + "\\"
    assert parse_bucket_event(event(key))[0].ref.key == key


@pytest.mark.parametrize(
    "large",
    [
        b"[" + b"[]," * 5_000_000 + b"[]]",
        b"[" * 7_500_000 + b"]" * 7_500_000,
        b'{"a":' * 3_000_000,
        b'["' + b'\\"' * 7_500_000,
    ],
    ids=["wide", "deep", "objects", "quotes"],
)
def test_a_giant_of_many_parts_is_refused_at_once(large: bytes) -> None:
    """Fifteen megabytes of brackets are refused before they become objects, and take no time."""
    begun = time.process_time()
    tracemalloc.start()
    with pytest.raises(MalformedMessage):
        load_json(large)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize("depth", [1, 200, 1_000, 5_000, 24_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"schema":', b"}")], ids=["lists", "objects"])
def test_any_nesting_is_refused_in_words(opening: bytes, closing: bytes, depth: int) -> None:
    """However deep, below the bound on parts: what can be parsed is no message, and what can't is no error of ours."""
    with pytest.raises(MalformedMessage):
        ContentChanged.decode(opening * depth + b"1" + closing * depth)
    with pytest.raises(MalformedMessage):
        parse_bucket_event(opening * depth + b"1" + closing * depth)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text() | st.sampled_from(["Records", "s3", "bucket", "object", "name", "key", "eventTime"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "s3": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "bucket": JSON | st.fixed_dictionaries({"name": JSON | st.just("pictures")}),
                "object": JSON | st.fixed_dictionaries({"key": JSON, "sequencer": JSON, "eTag": JSON, "size": JSON}),
            },
        ),
        "eventTime": JSON,
        "eventName": JSON,
    },
)


@pytest.mark.fuzz
def test_any_bytes_are_hints_or_malformed() -> None:
    """The parser raises nothing but MalformedMessage, and what it returns names an object that can be asked for."""
    fuzz(hints_or_malformed)


@fuzz_settings
@given(
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.lists(RECORDS | JSON).map(lambda records: json.dumps({"Records": records}).encode())
)
def hints_or_malformed(value: bytes) -> None:
    """What the test above tries."""
    try:
        hints = parse_bucket_event(value)
    except MalformedMessage:
        return
    assert hints
    for hint in hints:
        assert hint.ref.bucket
        assert hint.ref.key
        assert len(hint.ref.image_id) == 32
        encode_key(hint.ref)
        assert hint.event_time is None or hint.event_time.tzinfo is not None
        for text in (hint.sequencer, hint.etag):
            assert text is None or 0 < len(text.encode()) <= MAX_EVENT_TEXT
        assert hint.size is None or 0 <= hint.size <= MAX_SIZE


@pytest.mark.fuzz
def test_any_bytes_are_a_content_message_or_malformed() -> None:
    """The same for our own messages."""
    fuzz(content_message_or_malformed)


@fuzz_settings
@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def content_message_or_malformed(value: bytes) -> None:
    """What the test above tries."""
    try:
        message = ContentChanged.decode(value)
    except MalformedMessage:
        return
    encode_key(message.content_id)


def test_a_content_message_comes_back() -> None:
    """What was sent is read, under its key."""
    message = ContentChanged(bucket="pictures", sha256="a" * 64, verify=True, event_time=NOW)
    assert ContentChanged.decode(message.encode()) == message
    assert encode_key(message.content_id) == b"pictures/" + b"a" * 64
    assert message.content_id == ContentId("pictures", "a" * 64)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"schema": "1.0"},
        {"bucket": ""},
        {"bucket": "b" * 64},
        {"sha256": "A" * 64},
        {"sha256": "a" * 63},
        {"sha256": None},
        {"verify": "perhaps"},
        {"event_time": "2026-01-01T00:00:00"},
    ],
)
def test_a_content_message_with_a_wrong_field_is_refused(changes: dict[str, Any]) -> None:
    """Unknown versions, and fields that are not what they should be."""
    right = {"schema": 1, "bucket": "pictures", "sha256": "a" * 64}
    assert ContentChanged.decode(json.dumps(right).encode())
    with pytest.raises(MalformedMessage, match="no valid ContentChanged"):
        ContentChanged.decode(json.dumps(right | changes).encode())


def test_fields_of_a_later_release_are_ignored() -> None:
    """Within a version fields may be added, and old readers go on."""
    later = {"schema": 1, "bucket": "pictures", "sha256": "a" * 64, "added_later": {"x": 1}}
    assert ContentChanged.decode(json.dumps(later).encode()) == ContentChanged(bucket="pictures", sha256="a" * 64)


def test_an_image_message_comes_back() -> None:
    """A snapshot survives its way through Kafka."""
    message = ImageChanged(
        version=7, state=ImageState.INDEXED, image_id="i", bucket="b", key="ü🦊", sha256="a" * 64, occurred_at=NOW
    )
    assert ImageChanged.decode(message.encode()) == message
    assert json.loads(message.encode())["schema"] == 1
