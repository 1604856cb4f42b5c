"""Requests whose object or bucket can't be reached, and outcomes that the broker refuses: they delay nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from schemas.errors import TIMEOUT, MessageRefused, ObjectStoreOutage
from schemas.image_requests import parse_image_request
from schemas.messages import RequestOutcome
from schemas.records import ObjectRef, ObjectState, RequestRecord, RequestResult
from stores.broker.memory import MemoryOutbox
from stores.broker.ports import OutgoingMessage
from stores.objects.memory import MemoryObjects
from streams.requests.batches import BUCKET_WAITED_FOR
from streams.requests.carry_out import LATE_HEADS, carry_out
from tests.harness.installation import BUCKET
from tests.unit.requests.producers import KEY, Producers, put_json

OTHER = "b.jpg"
AWAY = "away"
LOOKS_UNTIL_BACK = 5


def by_id(producers: Producers) -> dict[str, RequestOutcome]:
    """The outcome of each request."""
    return {outcome.request_id: outcome for outcome in producers.outcomes()}


async def test_a_request_for_a_denied_object_is_refused_and_its_neighbours_are_done() -> None:
    """At once, with the server's reason; nothing is waited for, and nothing is a dead letter."""
    producers = Producers()
    producers.objects.denied.add(KEY)
    await producers.take(put_json("r-1"), put_json("r-2", key=OTHER))
    found = by_id(producers)
    assert found["r-2"].outcome is RequestResult.STORED
    assert (found["r-1"].outcome, found["r-1"].key) == (RequestResult.REFUSED, KEY.key)
    assert "access denied" in (found["r-1"].reason or "")
    assert producers.outbox.to("t.dead-letters") == []


async def test_a_put_that_is_denied_is_refused() -> None:
    """Where the bucket may be read and not written."""

    class ReadOnly(MemoryObjects):
        async def put(self, ref: ObjectRef, data: bytes, **_: Any) -> str:
            raise ObjectStoreOutage(f"PUT {ref}: {len(data)} bytes denied", code="AccessDenied", definite=True)

    producers = Producers()
    ports = replace(producers.requests_ports, objects=ReadOnly([BUCKET]))
    producers.requests = replace(producers.requests, ports=ports)
    await producers.take(put_json("r-1"))
    [outcome] = producers.outcomes()
    assert outcome.outcome is RequestResult.REFUSED
    assert "denied" in (outcome.reason or "")


@pytest.mark.slow
async def test_an_object_that_gives_no_answer_is_asked_for_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its request is refused."""
    producers, heads = Producers(), 0

    async def head(ref: ObjectRef) -> ObjectState | None:
        nonlocal heads
        heads += 1
        raise ObjectStoreOutage(f"HEAD {ref}: no answer", code=TIMEOUT)

    monkeypatch.setattr(producers.objects, "head", head)
    await producers.take(put_json("r-1"))
    assert heads == LATE_HEADS
    assert by_id(producers)["r-1"].outcome is RequestResult.REFUSED


@pytest.mark.slow
async def test_a_server_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the check of the bucket meets is not about the object, though it is the same kind of failure."""
    producers = Producers()

    async def no_answer(_: object) -> None:
        raise ObjectStoreOutage("no answer", code=TIMEOUT)

    for call in ("head", "check"):
        monkeypatch.setattr(producers.objects, call, no_answer)
    request = parse_image_request(put_json("r-1"), {})
    with pytest.raises(ObjectStoreOutage):
        await carry_out(request, producers.requests_ports)
    assert producers.outcomes() == []


async def test_an_answer_says_what_an_earlier_attempt_may_have_done() -> None:
    """Taken up and perhaps put, and then denied: nobody can see any more whether it was stored."""
    producers = Producers()
    await producers.ledger.take_up(RequestRecord("r-1", ref=KEY, expected={}, created_at=producers.clock.now()))
    producers.objects.denied.add(KEY)
    await producers.take(put_json("r-1"))
    [outcome] = producers.outcomes()
    assert outcome.outcome is RequestResult.REFUSED
    assert "may have stored it" in (outcome.reason or "")
    assert len(producers.outbox.to("t.dead-letters")) == 0


async def test_a_denied_request_does_not_answer_for_another_one_of_its_id() -> None:
    """Which is still being carried out: it becomes a dead letter, as any other that comes under an id in use."""
    producers = Producers()
    in_work = RequestRecord("r-1", ref=ObjectRef(BUCKET, OTHER), expected={}, created_at=producers.clock.now())
    await producers.ledger.take_up(in_work)
    producers.objects.denied.add(KEY)
    await producers.take(put_json("r-1"))
    assert producers.outcomes() == []
    assert len(producers.outbox.to("t.dead-letters")) == 1


async def test_a_bucket_that_has_been_away_for_a_while_is_not_waited_for() -> None:
    """Its requests are refused at once, and those for other buckets are done."""
    producers = Producers(buckets=(BUCKET, AWAY))
    producers.objects.missing.add(AWAY)
    producers.retry.outages.began(f"bucket:{AWAY}", "it is not there")
    producers.clock.moment += BUCKET_WAITED_FOR
    await producers.take(put_json("r-1", bucket=AWAY), put_json("r-2"))
    found = by_id(producers)
    assert found["r-2"].outcome is RequestResult.STORED
    assert found["r-1"].outcome is RequestResult.REFUSED
    assert "the bucket away is not there" in (found["r-1"].reason or "")
    assert set(producers.retry.outages.down_since) == {f"bucket:{AWAY}"}


async def test_a_bucket_that_is_back_in_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is for good, and so a moment's absence is no reason for it."""
    producers = Producers(buckets=(BUCKET, AWAY))
    producers.objects.missing.add(AWAY)
    check, checks = producers.objects.check, 0

    async def until_back(bucket: str) -> None:
        nonlocal checks
        checks += 1
        if checks == LOOKS_UNTIL_BACK:
            producers.clock.moment += BUCKET_WAITED_FOR - timedelta(seconds=1)
            producers.objects.missing.clear()
        await check(bucket)

    monkeypatch.setattr(producers.objects, "check", until_back)
    await producers.take(put_json("r-1", bucket=AWAY))
    assert checks >= LOOKS_UNTIL_BACK
    assert by_id(producers)["r-1"].outcome is RequestResult.STORED


class Narrow(MemoryOutbox):
    """A broker whose topic of outcomes takes nothing about one request; of a batch with it, nothing at all."""

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        """See Outbox."""
        if any(message.topic == "t.request-outcomes" and message.key == b"r-big" for message in messages):
            raise MessageRefused("it is too large")
        await super().send(messages)


@pytest.fixture
def narrow() -> Producers:
    """Producers whose broker is that."""
    return Producers(outbox=Narrow())


async def test_an_outcome_that_the_broker_refuses_is_put_aside_alone(narrow: Producers) -> None:
    """Its request is done and known as that; its neighbours are answered, also when all of them come again."""
    batch = [put_json("r-1", key="1"), put_json("r-big", key="2"), put_json("r-2", key="3")]
    for _ in range(2):
        await narrow.take(*batch)
    assert set(by_id(narrow)) == {"r-1", "r-2"}
    assert set(narrow.objects.present(BUCKET)) == {"1", "2", "3"}
    letters = narrow.outbox.to("t.dead-letters")
    assert {letter.key for letter in letters} == {b"r-big"}
    assert {RequestOutcome.decode(letter.value).outcome for letter in letters} == {RequestResult.STORED}
    assert letters[0].headers["dead-letter-stage"] == b"outcomes"
    assert letters[0].headers["dead-letter-topic"] == b"t.request-outcomes"
    assert letters[0].headers["dead-letter-error"] == b"it is too large"


async def test_the_sweep_puts_such_an_outcome_aside_and_comes_to_an_end(narrow: Producers) -> None:
    """Those that are due with it are sent, and none is due any more."""
    await narrow.take(put_json("r-1", key="1"), put_json("r-big", key="2"))
    sent = len(narrow.outcomes())
    for request_id, row in narrow.ledger.rows.items():
        narrow.ledger.rows[request_id] = replace(row, publish_due=narrow.clock.now())
    assert await narrow.requests.sweep() == 2
    assert len(narrow.outcomes()) == sent + 1
    assert await narrow.requests.sweep() == 0
