"""Dead letters as records, and which of them a filter means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from ops.dead_letters import Action, Filters, act, as_json, moment
from schemas.errors import MalformedMessage, RequestRefused
from schemas.settings import KafkaSettings
from stores.broker.dead_letters import DeadLetter, KafkaDeadLetters, LetterId, resolved_by
from streams.common.deliveries import Delivery, dead_letter

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


HOSTILE = (None, b"", b"\xff", b"many", b"9" * 5_000, "٣".encode())


@dataclass(frozen=True, slots=True)
class Record:
    """What aiokafka gives of a message."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int = 0


def letter(
    value: bytes | None = b"{", *, max_bytes: int = 1_000_000, key: bytes | None = b"pictures/a.png"
) -> DeadLetter:
    """A letter as it comes back from the topic that the workers sent it to."""
    delivery = Delivery("twinlens.bucket-events", 3, 17, key, value, {"trace": b"42", "dead-letter-topic": b"old"})
    error = MalformedMessage("not JSON")
    sent = dead_letter(delivery, "twinlens.dead-letters", "ingest", error, 2, NOW, max_bytes)
    return DeadLetter.of(Record(1, 5, sent.key, sent.value, tuple(sent.headers.items())))


def test_a_letter_comes_back_as_it_was_sent() -> None:
    """Key, value, headers, coordinates, stage, error, attempts and time survive the way through the topic."""
    found = letter(b"\xff\xfe")
    assert (found.id, found.key, found.value) == (LetterId(1, 5), b"pictures/a.png", b"\xff\xfe")
    assert found.headers == {"trace": b"42"}
    assert (found.topic, found.partition, found.offset) == ("twinlens.bucket-events", 3, 17)
    assert (found.stage, found.error_type, found.error, found.attempts) == ("ingest", "MalformedMessage", "not JSON", 2)
    assert found.time == NOW
    assert not found.truncated


def test_a_giant_keeps_its_beginning_and_its_size() -> None:
    """A value that does not fit into a message is cut, and says so."""
    found = letter(bytes(200_000), max_bytes=100_000)
    assert found.truncated
    assert (len(found.value or b""), found.size) == (64 * 1024, 200_000)


def test_a_null_value_stays_null() -> None:
    """A message without a value is replayed without one."""
    assert letter(None).value is None
    assert as_json(letter(None))["value"] is None


def test_a_foreign_message_in_the_topic_is_shown_too() -> None:
    """A message without our headers is listed with what is known of it."""
    found = DeadLetter.of(Record(0, 0, None, b"x", (("dead-letter-attempts", b"many"),), timestamp=1_000))
    assert (found.topic, found.attempts, found.time) == ("", 0, datetime.fromtimestamp(1, UTC))


@pytest.mark.parametrize("value", HOSTILE)
def test_headers_of_any_kind_are_shown(value: bytes | None) -> None:
    """Null, no text, no number or a giant one: the letter is shown, and no marker of another."""
    names = ("attempts", "partition", "offset", "size", "time", "topic", "stage", "error", "resolves")
    headers = (*((f"dead-letter-{name}", value) for name in names), ("own", value))
    record = Record(0, 0, None, None, headers, timestamp=2**63 - 1)
    found = DeadLetter.of(record)
    assert (found.attempts, found.size) == (0, 0)
    assert Filters(since=NOW).let_through(found)
    assert as_json(found)["time"].startswith("8307-")
    assert resolved_by(record) is None


def test_a_time_without_a_zone_is_compared() -> None:
    """A foreign message's time counts as UTC."""
    found = DeadLetter.of(Record(0, 0, None, b"x", (("dead-letter-time", b"2026-01-02T12:00:00"),)))
    assert found.time == NOW


async def test_a_letter_that_can_not_be_replayed_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A truncated one is refused with its reason, and those behind it are replayed."""
    sent = []

    async def replay(_box: KafkaDeadLetters, letter: DeadLetter) -> None:
        if letter.truncated:
            raise RequestRefused("truncated")
        sent.append(letter)

    async def letters(_box: KafkaDeadLetters, *, resolved: bool = False) -> AsyncIterator[DeadLetter]:
        assert not resolved
        yield letter(bytes(200_000), max_bytes=100_000)
        yield letter()

    monkeypatch.setattr(KafkaDeadLetters, "replay", replay)
    monkeypatch.setattr(KafkaDeadLetters, "letters", letters)
    done = await act(KafkaSettings(), Action.REPLAY, [], Filters())
    assert (len(done.letters), done.refused, len(sent)) == (1, ["truncated"], 1)


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        (Filters(), True),
        (Filters(topic="bucket-events"), True),
        (Filters(topic="twinlens.bucket-events"), True),
        (Filters(topic="contents"), False),
        (Filters(stage="ingest", error_type="MalformedMessage"), True),
        (Filters(stage="index"), False),
        (Filters(error_type="TypeError"), False),
        (Filters(since=NOW), True),
        (Filters(since=NOW + timedelta(seconds=1)), False),
        (Filters(key="a.png"), True),
        (Filters(key="b.png"), False),
    ],
)
def test_filters_mean_what_they_say(filters: Filters, *, meant: bool) -> None:
    """Each filter lets through its own letters, and several of them only what all let through."""
    assert filters.let_through(letter()) is meant


def test_a_key_that_is_no_text_can_be_filtered() -> None:
    """A key that is no UTF-8 is compared by what of it can be read."""
    assert Filters(key="end").let_through(letter(key=b"\xff\xfeend"))


def test_times_are_read() -> None:
    """Since takes an age or an ISO time, which is UTC unless it says otherwise."""
    assert moment("2h", NOW) == NOW - timedelta(hours=2)
    assert moment("2026-01-01", NOW) == datetime(2026, 1, 1, tzinfo=UTC)
    assert moment(None, NOW) is None
    with pytest.raises(RequestRefused):
        moment("yesterday", NOW)


@pytest.mark.parametrize("text", ["", "3", "3:", ":4", "a:b", "3:4:5", "-1:2"])
def test_wrong_ids_are_refused(text: str) -> None:
    """Only partition:offset is an id."""
    with pytest.raises(RequestRefused):
        LetterId.parse(text)
