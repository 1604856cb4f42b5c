"""Requests of external producers over the in-memory ports: each id once, nothing old over anything new."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from schemas import tracing
from schemas.errors import MalformedMessage, ObjectStoreOutage
from schemas.image_requests import parse_image_request
from schemas.records import METADATA_MAX_BYTES, ObjectRef, ObjectState, RequestRecord, RequestResult
from schemas.settings import LimitSettings
from schemas.tracing import TRACEPARENT
from stores.objects.memory import MemoryObjects
from streams.common.deliveries import Delivery, dead_letter
from streams.common.tracing import Traced
from streams.requests.carry_out import carry_out
from tests.harness.installation import BUCKET
from tests.unit.requests.producers import KEY, Producers, put_json
from tests.unit.spans import GIVEN, traced


async def test_a_put_is_stored_with_its_ids_in_the_metadata() -> None:
    """The object carries request id and external id, percent-encoded, and the outcome names its image."""
    producers = Producers()
    await producers.take(put_json("r-1", external_id="ü 1", content_type="image/jpeg", metadata={"source": "cam"}))
    state = await producers.objects.head(KEY)
    assert state is not None
    assert state.metadata == {"source": "cam", "request-id": "r-1", "external-id": "%C3%BC%201"}
    assert state.content_type == "image/jpeg"
    [outcome] = producers.outcomes()
    assert (outcome.outcome, outcome.image_id, outcome.key) == (RequestResult.STORED, KEY.image_id, KEY.key)


async def test_the_raw_form_stores_the_value() -> None:
    """The value is the file, and the headers are the fields."""
    producers = Producers()
    headers = {"request-id": b"r-raw", "key": KEY.key.encode(), "content-type": b"image/png"}
    await producers.take(b"\x89PNG", headers=headers)
    assert producers.stored() == b"\x89PNG"
    assert producers.outcomes()[0].outcome is RequestResult.STORED


async def test_a_replay_puts_nothing_and_repeats_the_identical_outcome() -> None:
    """A request id is done once, whatever comes under it later."""
    producers = Producers()
    await producers.take(put_json("r-1", b"old"))
    await producers.take(put_json("r-2", b"new"))
    await producers.take(put_json("r-1", b"old"), put_json("r-1", b"something else"))
    assert producers.stored() == b"new"
    sent = [message.value for message in producers.outbox.to("t.request-outcomes") if message.key == b"r-1"]
    assert len(sent) == 3
    assert len(set(sent)) == 1


async def test_a_crash_between_put_and_outcome_is_recognised() -> None:
    """The replay finds its own request id in the object's metadata and concludes without a second PUT."""
    producers = Producers()
    await producers.take(put_json("r-1"))
    version = await producers.objects.head(KEY)
    producers.ledger.rows["r-1"] = RequestRecord("r-1", ref=KEY, expected={}, created_at=producers.clock.now())
    await producers.take(put_json("r-1"))
    assert await producers.objects.head(KEY) == version
    assert producers.outcomes()[-1].outcome is RequestResult.STORED


async def test_a_replay_after_a_crash_does_not_cover_a_newer_picture() -> None:
    """Taken up, not concluded, and another object in its place by now: superseded."""
    producers = Producers()
    await producers.ledger.take_up(RequestRecord("r-1", ref=KEY, expected={}, created_at=producers.clock.now()))
    producers.put(KEY.key, b"newer")
    await producers.take(put_json("r-1", b"old"))
    assert producers.stored() == b"newer"
    assert producers.outcomes()[-1].outcome is RequestResult.SUPERSEDED


class Overtaken(MemoryObjects):
    """Another client writes right before each PUT."""

    async def put(self, ref: ObjectRef, data: bytes, **conditions: Any) -> str:
        self.put_now(ref, b"theirs")
        return await super().put(ref, data, **conditions)


async def test_the_conditional_put_closes_the_last_window() -> None:
    """Somebody writes between the look and the PUT: theirs stands."""
    producers = Producers()
    objects = Overtaken([BUCKET])
    ports = replace(producers.requests_ports, objects=objects)
    concluded = await carry_out(parse_image_request(put_json("r-1", b"ours"), {}), ports)
    assert objects.present(BUCKET)[KEY.key] == b"theirs"
    assert concluded.outcome is RequestResult.SUPERSEDED


async def test_requests_for_one_key_keep_their_order_within_a_batch() -> None:
    """The last request of a batch wins, as the producer meant it."""
    producers = Producers()
    await producers.take(*[put_json(f"r-{n}", str(n).encode()) for n in range(20)])
    assert producers.stored() == b"19"
    assert {outcome.outcome for outcome in producers.outcomes()} == {RequestResult.STORED}


async def test_a_look_sends_a_hint() -> None:
    """Looking again is what bucket events are for."""
    producers = Producers()
    await producers.take(json.dumps({"request_id": "r-1", "op": "look", "key": "ä b.jpg"}).encode())
    [hint] = producers.outbox.to("t.bucket-events")
    assert hint.key == f"{BUCKET}/ä b.jpg".encode()
    assert producers.outcomes()[0].outcome is RequestResult.LOOKED


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (put_json("r", bucket="elsewhere"), "is not one of"),
        (put_json("r", key="trip/._a.jpg"), "objects.exclude"),
        (put_json("r", content_base64="***"), "not base64"),
        (put_json("r", b""), "no bytes"),
        (put_json("r", url="http://x/"), "exactly one"),
        (put_json("r", key="a//b"), "segment is empty"),
        (put_json("r", key=""), "key"),
        (put_json("r", metadata={"request-id": "x"}), "can't be used"),
        (put_json("r", metadata={"a": "ü"}), "printable ASCII"),
        (put_json("r", metadata={"a": "x" * 2100}), "2,048 are allowed"),
        (put_json("📷" * 200), "percent-encoded"),
        (put_json("r", key="  "), "it is blank"),
        (put_json("r", key="\ud800"), "unicode"),
        (put_json("r", schema=9), "schema 9 is not one that this version of Twinlens understands (1)"),
        (put_json("r", schema=9, op="fly", key=7), "schema 9 is not one that"),
        (json.dumps({"request_id": "r", "key": "k", "url": "http://10.0.0.1/x.jpg"}).encode(), "private"),
    ],
)
async def test_what_has_an_id_but_a_fault_is_refused_with_the_reason(value: bytes, words: str) -> None:
    """The producer is told what was wrong, and nothing becomes a dead letter."""
    producers = Producers()
    await producers.take(value)
    [outcome] = producers.outcomes()
    assert outcome.outcome is RequestResult.REFUSED
    assert words in (outcome.reason or "")
    assert not producers.outbox.to("t.dead-letters")
    assert producers.stored() is None


NO_ID = [None, b"", b"{", b"[]", b"\xff\xfe", b'{"key": "k"}', b'{"request_id": 7}', put_json("r "), put_json("r\n")]


@pytest.mark.parametrize("value", NO_ID)
async def test_what_has_no_id_becomes_a_dead_letter_unchanged(value: bytes | None) -> None:
    """Nobody could be answered, so a person has to look at it; its neighbours go on."""
    producers = Producers()
    await producers.take(value, put_json("r-1"))
    [letter] = producers.outbox.to("t.dead-letters")
    assert letter.value == value
    assert letter.headers["dead-letter-stage"] == b"requests"
    assert letter.headers["dead-letter-error-type"] == b"MalformedMessage"
    assert producers.outcomes()[0].outcome is RequestResult.STORED


async def test_a_url_is_fetched_under_the_guard() -> None:
    """The fetched bytes are stored with the type that their server gave."""
    producers = Producers()
    producers.fetched["http://pictures.example/x"] = b"fetched"
    value = json.dumps({"request_id": "r", "key": KEY.key, "url": "http://pictures.example/x"}).encode()
    await producers.take(value)
    state: ObjectState | None = await producers.objects.head(KEY)
    assert producers.stored() == b"fetched"
    assert state is not None
    assert state.content_type == "image/png"


async def test_a_batch_that_was_done_before_is_answered_without_a_look_at_the_bucket() -> None:
    """A replay of the whole topic, as by a new consumer group, asks the ledger once a batch, and no server."""
    producers = Producers()
    batch = [put_json(f"r-{n}", key=f"{n}.jpg") for n in range(20)]
    await producers.take(*batch)
    first = [message.value for message in producers.outbox.to("t.request-outcomes")]
    unreachable = replace(producers.requests_ports, objects=MemoryObjects([]))
    await replace(producers.requests, ports=unreachable).handle(
        [Delivery("t.image-requests", 0, n, b"k", value, {}) for n, value in enumerate(batch)]
    )
    assert [message.value for message in producers.outbox.to("t.request-outcomes")] == 2 * first


class Interrupted(MemoryObjects):
    """The first PUT is not answered."""

    failed = False

    async def put(self, ref: ObjectRef, data: bytes, **conditions: Any) -> str:
        if not self.failed:
            self.failed = True
            raise ObjectStoreOutage("the server went away")
        return await super().put(ref, data, **conditions)


async def test_an_outage_takes_no_time_from_a_fetch() -> None:
    """The URLs of a batch are fetched once, whatever is waited out meanwhile, and each goes to its request."""
    producers = Producers()
    producers.fetched = {f"http://x/{n}": b"%d" % n for n in range(3)}
    objects = Interrupted([BUCKET])
    ports = replace(producers.requests_ports, objects=objects)
    values = [json.dumps({"request_id": f"r-{n}", "key": f"{n}", "url": f"http://x/{n}"}).encode() for n in range(3)]
    await replace(producers.requests, ports=ports).handle(
        [Delivery("t.image-requests", 0, n, b"k", value, {}) for n, value in enumerate(values)]
    )
    assert objects.present(BUCKET) == {f"{n}": b"%d" % n for n in range(3)}
    assert sorted(producers.fetches) == sorted(producers.fetched)


async def test_requests_are_forgotten_after_a_stated_time() -> None:
    """A request id that comes after that is a new one: it changes nothing while its object is there, else puts it."""
    producers = Producers()
    await producers.take(put_json("r-1", b"old"))
    assert await producers.requests.drop_old() == 0
    producers.clock.moment += timedelta(days=producers.settings.requests.kept_days, seconds=1)
    assert await producers.requests.drop_old() == 1
    assert await producers.requests.drop_old() == 0
    await producers.take(put_json("r-1", b"new"))
    assert producers.stored() == b"old"
    assert producers.outcomes()[-1].outcome is RequestResult.STORED
    await producers.take(put_json("r-2", b"another"))
    del producers.ledger.rows["r-1"]
    await producers.take(put_json("r-1", b"new"))
    assert producers.stored() == b"new"


async def test_an_outcome_that_was_not_sent_is_swept() -> None:
    """What the broker missed is sent again, identically, once it is due."""
    producers = Producers()
    await producers.take(put_json("r-1"))
    row = producers.ledger.rows["r-1"]
    lost = producers.outbox.sent.pop()
    producers.ledger.rows["r-1"] = replace(row, publish_due=producers.clock.now())
    assert await producers.requests.sweep() == 1
    assert producers.outbox.sent[-1] == lost
    assert await producers.requests.sweep() == 0


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"request-id": None}, "at least 1 character"),
        ({"request-id": b"\xff", "key": b"k"}, "unicode"),
    ],
)
async def test_headers_without_an_id_are_told(headers: dict[str, Any], words: str) -> None:
    """Null and broken headers of the raw form are dead letters with a reason, and stop nobody."""
    producers = Producers()
    await producers.take(b"data", headers=headers)
    [letter] = producers.outbox.to("t.dead-letters")
    assert words in letter.headers["dead-letter-error"].decode()


async def test_headers_with_an_id_but_a_fault_are_refused() -> None:
    """A key that is not UTF-8 can be answered, for the id can be read."""
    producers = Producers()
    await producers.take(b"data", headers={"request-id": b"r", "key": b"\xff"})
    [outcome] = producers.outcomes()
    assert outcome.outcome is RequestResult.REFUSED
    assert (outcome.reason or "").startswith("key: ")


async def test_an_id_in_work_is_not_answered_by_another_message() -> None:
    """The outcome of a request id is that of the request that was taken up first."""
    producers = Producers()
    in_work = RequestRecord("r-1", ref=KEY, expected={}, created_at=producers.clock.now())
    await producers.ledger.take_up(in_work)
    await producers.take(put_json("r-1", key="other.jpg"), put_json("r-1", schema=9))
    letters = [message.headers["dead-letter-error"].decode() for message in producers.outbox.to("t.dead-letters")]
    assert len(letters) == 2
    assert all(letter.startswith("the request id r-1 is in use for pictures/a.jpg, and here: ") for letter in letters)
    assert producers.outcomes() == []
    await producers.take(put_json("r-1"))
    assert producers.outcomes()[-1].outcome is RequestResult.STORED


async def test_the_default_bucket_named_or_not_is_one_bucket() -> None:
    """Requests for one object keep their order, whichever way they name its bucket."""
    producers = Producers()
    await producers.take(
        *[put_json(f"r-{n}", str(n).encode(), **({"bucket": BUCKET} if n % 2 else {})) for n in range(20)]
    )
    assert producers.stored() == b"19"
    assert {outcome.outcome for outcome in producers.outcomes()} == {RequestResult.STORED}


async def test_a_picture_above_the_limit_is_refused_with_both_numbers() -> None:
    """The object store is not even asked."""
    producers = Producers(limits=LimitSettings(max_object_bytes=1000))
    await producers.take(put_json("r-1", b"x" * 1001), put_json("r-2", b"x" * 1000))
    reasons = {outcome.request_id: outcome.reason for outcome in producers.outcomes()}
    assert reasons == {
        "r-1": "the picture has 1,001 bytes; 1,000 are allowed (limits.max_object_bytes)",
        "r-2": None,
    }


async def test_a_long_reason_keeps_its_beginning_and_its_end() -> None:
    """A key of a thousand characters does not hide what is wrong with it."""
    producers = Producers()
    await producers.take(put_json("r-1", bucket="b" * 60, key="k"), put_json("r-2", metadata={"x" * 900: "1"}))
    [first, second] = producers.outcomes()
    assert len(second.reason or "") <= 500
    assert (first.reason or "").endswith("is not one of pictures")
    assert (second.reason or "").endswith("can't be used")


@pytest.mark.parametrize(
    ("key", "headers"), [(b"k" * 70_000, {}), (b"k", {"x": b"h" * 70_000}), (b"k", {"x": b"h" * 70_000, "y": b"k"})]
)
async def test_a_dead_letter_always_fits(key: bytes, headers: dict[str, bytes]) -> None:
    """Whichever part of a message is huge: what is put aside is small enough to be sent."""
    delivery = Delivery("t.image-requests", 0, 1, key, b"v" * 60_000, headers)
    now = Producers().clock.now()
    letter = dead_letter(delivery, "t.dead-letters", "requests", MalformedMessage("ß"), 1, now, 140_000)
    size = len(letter.key or b"") + len(letter.value or b"") + sum(len(n) + len(d) for n, d in letter.headers.items())
    assert size <= 140_000
    assert letter.headers["dead-letter-size"] == b"60000"
    assert letter.headers["dead-letter-error"] == "ß".encode()


async def test_the_object_tells_the_trace_of_its_request() -> None:
    """What the producer's trace leads to is announced as a part of it: the object carries it in its metadata."""
    with traced() as spans:
        producers = Producers()
        delivery = Delivery("t.image-requests", 0, 0, b"k", put_json("r1"), {TRACEPARENT: GIVEN.encode()})
        await Traced(producers.requests).handle([delivery])
        state = await producers.objects.head(KEY)
        assert state is not None
        [request] = spans.named("process t.image-requests")
        assert tracing.trace_id(state.metadata[TRACEPARENT]) == tracing.trace_id(GIVEN)
        assert tracing.span_id(state.metadata[TRACEPARENT]) == f"{request.context.span_id:016x}"


async def test_a_trace_is_no_reason_to_refuse_a_request() -> None:
    """Where the object's metadata has no room for it, the object is stored without."""
    full = {"note": "x" * (METADATA_MAX_BYTES - 100)}
    with traced():
        producers = Producers()
        await Traced(producers.requests).handle(
            [Delivery("t.image-requests", 0, 0, b"k", put_json("r1", metadata=full), {})]
        )
        state = await producers.objects.head(KEY)
    assert state is not None
    assert TRACEPARENT not in state.metadata
