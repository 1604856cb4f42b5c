"""Each interleaving of the converge handlers that matters, forced at named points, on SQLite, MariaDB and MySQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
import pytest_asyncio

from imaging.digest import Digest
from schemas.errors import BrokerOutage, InferenceOutage
from schemas.messages import ContentChanged, ObjectHint
from schemas.records import ContentState, ObjectRef, ObjectState
from stores.broker.ports import OutgoingMessage
from streams.assembly import for_objects, for_sweep
from streams.common.checkpoints import Step
from streams.index import converge_contents
from streams.ingest.converge_objects import ObjectOutcome, record_looks
from streams.ingest.look import Look
from streams.repair.sweep import sweep
from tests.harness.catalogs import SQL_BACKENDS, open_catalog
from tests.harness.inference import PictureInference
from tests.harness.installation import content_of, ref
from tests.harness.stepping import Halt, Stepped

A, B, C = b"picture A", b"picture B", b"picture C"


@pytest_asyncio.fixture(params=SQL_BACKENDS)
async def twinlens(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stepped]:
    """An installation with an empty bucket; at the end of each test all of it has to agree."""
    async with open_catalog(request.param, request, tmp_path) as catalog:
        installation = Stepped(catalog)
        yield installation
        async with asyncio.timeout(60):
            await installation.come_to_rest()
        await installation.assert_agreement()


async def indexed(twinlens: Stepped, objects: dict[str, bytes]) -> None:
    """Put objects and let them be indexed."""
    for key, data in objects.items():
        twinlens.put(key, data)
        await twinlens.ingest(key)
    await twinlens.work()


async def halted[T](work: Coroutine[Any, Any, T], halt: Halt) -> asyncio.Task[T]:
    """Start a worker and wait until it has stopped."""
    task = asyncio.create_task(work)
    await halt.arrival(task)
    return task


async def released[T](halt: Halt, task: asyncio.Task[T]) -> T:
    """Let the worker go on, to its end."""
    halt.release()
    async with asyncio.timeout(30):
        return await task


NEW = (Step.OBJECT_READ, Step.IMAGE_LOCKED)
KNOWN = (Step.OBJECT_SEEN, *NEW)
"""Before the second look at an object; only one that is known is looked at before it is read."""
BEFORE_THE_SECOND_HEAD = [*((step, {}) for step in NEW), *((step, {"k": C}) for step in KNOWN)]


@pytest.mark.parametrize(("step", "before"), BEFORE_THE_SECOND_HEAD)
async def test_an_object_that_is_overwritten_while_it_is_read_is_read_again(
    twinlens: Stepped, step: Step, before: dict[str, bytes]
) -> None:
    """The row shows the bytes that were there while it was locked, without the later hint's help."""
    await indexed(twinlens, before)
    twinlens.put("k", A)
    halt = Halt(step)
    worker = await halted(twinlens.ingest("k", halt), halt)
    twinlens.put("k", B)
    assert await released(halt, worker) is ObjectOutcome.STORED
    image = (await twinlens.ports.catalog.images([ref("k")]))[ref("k")]
    assert image.sha256 == content_of(B).sha256


@pytest.mark.parametrize(("step", "before"), BEFORE_THE_SECOND_HEAD)
async def test_an_object_that_is_deleted_while_it_is_read_leaves_no_row(
    twinlens: Stepped, step: Step, before: dict[str, bytes]
) -> None:
    """A worker that has read what is gone by now records nothing, or that what was known is gone."""
    await indexed(twinlens, before)
    twinlens.put("k", A)
    halt = Halt(step)
    worker = await halted(twinlens.ingest("k", halt), halt)
    twinlens.delete("k")
    assert await released(halt, worker) is (ObjectOutcome.REMOVED if before else ObjectOutcome.ABSENT)


AFTER_THE_SECOND_HEAD = [
    (Step.CONTENT_LOCKED, {}),
    (Step.OBJECT_COMMITTED, {}),
    (Step.CONTENT_SENT, {}),
    (Step.IMAGE_SENT, {"other": A}),
]
"""An image whose content is indexed already is published at once."""


@pytest.mark.parametrize(("step", "before"), AFTER_THE_SECOND_HEAD)
async def test_an_object_that_is_overwritten_after_the_second_head_is_left_to_its_own_hint(
    twinlens: Stepped, step: Step, before: dict[str, bytes]
) -> None:
    """From the second look on, the change brings a hint of its own, which waits for the row."""
    await indexed(twinlens, before)
    twinlens.put("k", A)
    halt = Halt(step)
    worker = await halted(twinlens.ingest("k", halt), halt)
    twinlens.put("k", B)
    later = asyncio.create_task(twinlens.ingest("k"))
    await released(halt, worker)
    assert await later is ObjectOutcome.STORED


async def test_the_first_worker_wakes_after_the_second_has_recorded_the_overwrite(twinlens: Stepped) -> None:
    """Two workers on one key: the one that read the older bytes comes last, and changes nothing."""
    twinlens.put("k", A)
    halt = Halt(Step.OBJECT_READ)
    worker = await halted(twinlens.ingest("k", halt), halt)
    twinlens.put("k", B)
    await twinlens.ingest("k")
    await twinlens.work()
    assert await released(halt, worker) is ObjectOutcome.UNCHANGED


async def test_an_object_that_is_gone_before_its_first_row_is_committed_is_looked_for_under_the_lock(
    twinlens: Stepped,
) -> None:
    """With neither object nor row there is still somebody who may be about to commit the row: wait for them."""
    await indexed(twinlens, {"other": A})
    twinlens.put("k", A)
    halt = Halt(Step.CONTENT_LOCKED)
    first = await halted(twinlens.ingest("k", halt), halt)
    twinlens.delete("k")
    second = asyncio.create_task(twinlens.ingest("k"))
    await released(halt, first)
    assert await second is ObjectOutcome.REMOVED


REMOVING = (Step.CONTENT_LOCKED, Step.DELETING_COMMITTED, Step.VECTOR_DELETED, Step.CONTENT_DELETED)


@pytest.mark.parametrize("step", REMOVING)
async def test_the_same_bytes_arrive_under_another_key_while_the_last_reference_is_removed(
    twinlens: Stepped, step: Step
) -> None:
    """The content is born again under a new vector id, or made anew; the remover touches only the old one."""
    await indexed(twinlens, {"k1": A})
    twinlens.delete("k1")
    await twinlens.ingest("k1")
    halt = Halt(step)
    remover = await halted(twinlens.index(A, halt), halt)
    twinlens.put("k2", A)
    arrival = asyncio.create_task(twinlens.ingest("k2"))
    if step is not Step.CONTENT_LOCKED:
        await arrival
        await twinlens.work()
    await released(halt, remover)
    await arrival


@pytest.mark.parametrize("step", [Step.OBJECT_READ, Step.IMAGE_LOCKED, Step.CONTENT_LOCKED])
async def test_the_last_reference_is_removed_while_the_same_bytes_arrive_under_another_key(
    twinlens: Stepped, step: Step
) -> None:
    """The other way round: whoever adds the reference holds the content's row, or finds it gone and makes it anew."""
    await indexed(twinlens, {"k1": A})
    twinlens.delete("k1")
    await twinlens.ingest("k1")
    twinlens.put("k2", A)
    halt = Halt(step)
    arrival = await halted(twinlens.ingest("k2", halt), halt)
    removal = asyncio.create_task(twinlens.index(A))
    if step is Step.OBJECT_READ:
        await removal
    await released(halt, arrival)
    await removal


@pytest.mark.parametrize("step", REMOVING)
async def test_an_object_is_put_back_while_its_vector_is_removed(twinlens: Stepped, step: Step) -> None:
    """Deleted and put again with the same bytes during the removal: found again in the end, under one vector."""
    await indexed(twinlens, {"k": A})
    twinlens.delete("k")
    await twinlens.ingest("k")
    halt = Halt(step)
    remover = await halted(twinlens.index(A, halt), halt)
    twinlens.put("k", A)
    arrival = asyncio.create_task(twinlens.ingest("k"))
    if step is not Step.CONTENT_LOCKED:
        await arrival
        await twinlens.work()
    await released(halt, remover)
    await arrival


async def test_two_last_references_are_deleted_at_once(twinlens: Stepped) -> None:
    """Two workers take away the last two references, and two remove the content; nothing is left of it."""
    await indexed(twinlens, {"k1": A, "k2": A})
    twinlens.delete("k1")
    twinlens.delete("k2")
    first, second = Halt(Step.OBJECT_SEEN), Halt(Step.OBJECT_SEEN)
    workers = [
        await halted(twinlens.ingest("k1", first), first),
        await halted(twinlens.ingest("k2", second), second),
    ]
    first.release()
    second.release()
    await asyncio.gather(*workers)
    await asyncio.gather(twinlens.index(A), twinlens.index(A), twinlens.index(A))


async def test_an_object_changes_to_and_fro_within_a_second(twinlens: Stepped) -> None:
    """A → B → A with the same Last-Modified: who finds A unchanged has waited for the one who was committing B."""
    await indexed(twinlens, {"k": A, "other": B})
    twinlens.put("k", B)
    halt = Halt(Step.CONTENT_LOCKED)
    worker = await halted(twinlens.ingest("k", halt), halt)
    twinlens.put("k", A)
    later = asyncio.create_task(twinlens.ingest("k"))
    await released(halt, worker)
    assert await later is ObjectOutcome.STORED


async def test_an_object_changes_to_and_fro_while_the_middle_is_embedded(twinlens: Stepped) -> None:
    """A → B → A while B is between decoding and storing: B's vector does not stay."""
    await indexed(twinlens, {"k": A})
    twinlens.put("k", B)
    await twinlens.ingest("k")
    halt = Halt(Step.CONTENT_EMBEDDED)
    worker = await halted(twinlens.index(B, halt), halt)
    twinlens.put("k", A)
    await twinlens.ingest("k")
    await twinlens.work()
    await released(halt, worker)
    assert len(twinlens.vectors.present()) == 1


STALLED = (Step.ATTEMPT_COMMITTED, Step.CONTENT_DECODED, Step.CONTENT_EMBEDDED, Step.VECTOR_STORED)


@pytest.mark.parametrize("step", STALLED)
async def test_a_stalled_worker_wakes_after_its_content_was_born_again(twinlens: Stepped, step: Step) -> None:
    """It can only touch the vector id that it read, which nobody uses any more, and takes that away again."""
    twinlens.put("k", A)
    await twinlens.ingest("k")
    halt = Halt(step)
    zombie = await halted(twinlens.index(A, halt), halt)
    twinlens.delete("k")
    await twinlens.ingest("k")
    await twinlens.work()
    assert await twinlens.ports.catalog.contents([content_of(A)]) == {}
    twinlens.put("k", A)
    await twinlens.ingest("k")
    await twinlens.work()
    reborn = (await twinlens.ports.catalog.contents([content_of(A)]))[content_of(A)]
    await released(halt, zombie)
    assert set(twinlens.vectors.present()) == {reborn.vector_id}


@pytest.mark.parametrize("step", STALLED)
async def test_a_stalled_worker_wakes_after_its_content_was_removed(twinlens: Stepped, step: Step) -> None:
    """Nobody carries its vector, so it does not stay."""
    twinlens.put("k", A)
    await twinlens.ingest("k")
    halt = Halt(step)
    zombie = await halted(twinlens.index(A, halt), halt)
    twinlens.delete("k")
    await twinlens.ingest("k")
    await twinlens.work()
    await released(halt, zombie)
    assert twinlens.vectors.present() == {}


@pytest.mark.parametrize("step", STALLED)
async def test_two_workers_on_one_content_store_one_vector(twinlens: Stepped, step: Step) -> None:
    """A zombie that holds the same message as the worker does no harm to what that one has stored."""
    twinlens.put("k", A)
    await twinlens.ingest("k")
    halt = Halt(step)
    zombie = await halted(twinlens.index(A, halt), halt)
    await twinlens.index(A)
    await released(halt, zombie)
    assert len(twinlens.vectors.present()) == 1


@pytest.mark.parametrize("step", STALLED)
async def test_a_reference_that_is_lost_during_an_attempt_is_followed_up(twinlens: Stepped, step: Step) -> None:
    """The attempt's end does not clear a mark that came after its beginning, though the message of that is lost."""
    twinlens.put("k", A)
    await twinlens.ingest("k")
    halt = Halt(step)
    worker = await halted(twinlens.index(A, halt), halt)
    twinlens.delete("k")
    await twinlens.ingest("k")
    twinlens.lose_messages()
    await released(halt, worker)
    assert (await twinlens.ports.catalog.contents([content_of(A)]))[content_of(A)].dirty_since is not None


async def test_a_remover_that_was_cut_off_is_followed_up_though_the_content_came_back(twinlens: Stepped) -> None:
    """The vector that it was to delete is deleted by whoever handles the content next."""
    await indexed(twinlens, {"k": A})
    twinlens.delete("k")
    await twinlens.ingest("k")
    halt = Halt(Step.DELETING_COMMITTED)
    remover = await halted(twinlens.index(A, halt), halt)
    remover.cancel()
    with pytest.raises(asyncio.CancelledError):
        await remover
    twinlens.put("k", A)
    await twinlens.ingest("k")
    await twinlens.work()
    assert len(twinlens.vectors.present()) == 1


async def test_the_same_bytes_under_a_hundred_keys_at_once_are_one_content(twinlens: Stepped) -> None:
    """A hundred workers at once add a hundred images and one vector."""
    for number in range(100):
        twinlens.put(f"k{number}", A)
    await asyncio.gather(*[twinlens.ingest(f"k{number}") for number in range(100)])
    await asyncio.gather(*[twinlens.index(A) for _ in range(3)])
    await twinlens.work()
    assert len(twinlens.vectors.present()) == 1
    assert await twinlens.ports.catalog.count_images("pictures") == 100


async def test_a_popular_content_gives_way_to_others(twinlens: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images are published in pages, none twice: a message at the end of the queue goes on with the rest."""
    monkeypatch.setattr(converge_contents, "SETTLED_AT_ONCE", 2)
    keys = [f"k{number}" for number in range(100)]
    for key, data in [*((key, A) for key in keys), ("other", B)]:
        twinlens.put(key, data)
        await twinlens.ingest(key)
    twinlens.lose_messages()
    both = [ContentChanged(bucket="pictures", sha256=content_of(data).sha256) for data in (A, B)]
    await twinlens.index_worker().handle([twinlens.delivery(message) for message in both])
    published = [message.key for message in twinlens.outbox.to(twinlens.topics.image_changes)]
    assert len(published) == 16 + 32 + 1
    await twinlens.work()
    published = [message.key for message in twinlens.outbox.to(twinlens.topics.image_changes)]
    assert len(published) == len(set(published)) == 101
    assert await twinlens.ports.catalog.oldest_dirty() is None


async def test_the_same_event_again_changes_nothing(twinlens: Stepped) -> None:
    """Twice, and then a year late: nothing is stored or published a second time."""
    await indexed(twinlens, {"k": A})
    published = twinlens.outbox.to(twinlens.topics.image_changes)
    for moment in (None, datetime(2025, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)):
        assert await twinlens.ingest("k", event_time=moment) is ObjectOutcome.UNCHANGED
    await twinlens.work()
    assert twinlens.outbox.to(twinlens.topics.image_changes) == published


async def test_an_announcement_that_was_looked_at_is_not_looked_at_again(twinlens: Stepped) -> None:
    """Its copy leads to no look at all: the object could not even be reached."""
    announcement = twinlens.put("k", A)
    assert await twinlens.ingest_hints(announcement) is ObjectOutcome.STORED
    twinlens.objects.outage = True
    assert await twinlens.ingest_hints(announcement) is ObjectOutcome.UNCHANGED
    twinlens.objects.outage = False


async def test_a_repeated_announcement_does_not_hide_a_new_one_of_its_batch(twinlens: Stepped) -> None:
    """A batch about one object is only left alone if all that it says was looked at."""
    first = twinlens.put("k", A)
    await twinlens.ingest_hints(first)
    second = twinlens.put("k", B)
    assert await twinlens.ingest_hints(second, first) is ObjectOutcome.STORED


async def test_an_announcement_of_the_same_bytes_may_stand_for_another_change(twinlens: Stepped) -> None:
    """A → B → A while B is being committed: the row still shows A, and the second A's announcement waits for it."""
    await twinlens.ingest_hints(twinlens.put("k", A))
    await indexed(twinlens, {"other": B})
    middle = twinlens.put("k", B)
    halt = Halt(Step.CONTENT_LOCKED)
    worker = await halted(twinlens.ingest_hints(middle, reached=halt), halt)
    later = asyncio.create_task(twinlens.ingest_hints(twinlens.put("k", A)))
    await released(halt, worker)
    assert await later is ObjectOutcome.STORED


async def test_a_removal_that_is_announced_late_finds_what_was_put_since(twinlens: Stepped) -> None:
    """That an object is gone is believed only while its row is locked: by then there may be another one."""
    await indexed(twinlens, {"k": A})
    twinlens.delete("k")
    twinlens.put("k", B)
    assert await twinlens.ingest_hints(ObjectHint(ref("k"), removed=True)) is ObjectOutcome.STORED
    await twinlens.come_to_rest()


async def test_a_network_that_stops_computing_uses_up_no_attempt(
    twinlens: Stepped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the worker, which another process takes over; the pictures were not at fault."""

    async def lost(*_: object) -> NoReturn:
        raise InferenceOutage("the device is lost")

    await twinlens.ingest_hints(twinlens.put("k", A))
    with monkeypatch.context() as broken:
        broken.setattr(PictureInference, "embed", lost)
        for _ in range(10):
            with pytest.raises(InferenceOutage):
                await twinlens.index(A)
    await twinlens.come_to_rest()


async def test_the_same_event_to_several_workers_at_once_has_one_effect(twinlens: Stepped) -> None:
    """Five workers with the same hint, and five with the same content, leave one image and one vector."""
    twinlens.put("k", A)
    await asyncio.gather(*[twinlens.ingest("k") for _ in range(5)])
    await asyncio.gather(*[twinlens.index(A) for _ in range(5)])
    assert len(twinlens.vectors.present()) == 1


async def test_events_in_reverse_order_lead_to_the_same_end(twinlens: Stepped) -> None:
    """Announcements arrive late and backwards, each when the object is another than it tells of."""
    of_a = twinlens.put("k", A)
    twinlens.delete("k")
    of_b = twinlens.put("k", B)
    await twinlens.ingest_hints(of_b)
    of_a_again = twinlens.put("k", A)
    await twinlens.ingest_hints(ObjectHint(of_a.ref, None, removed=True))
    assert await twinlens.recorded("k") == content_of(A)
    await twinlens.ingest_hints(of_a)
    twinlens.put("k", B)
    await twinlens.ingest_hints(of_a_again)
    assert await twinlens.recorded("k") == content_of(B)


async def test_a_vector_that_the_index_lost_is_stored_again(twinlens: Stepped) -> None:
    """A message that asks to verify finds the vector missing, and the content is indexed under a new id."""
    await indexed(twinlens, {"k": A})
    lost = next(iter(twinlens.vectors.present()))
    await twinlens.vectors.delete([lost])
    await twinlens.index(A, verify=True)
    assert set(twinlens.vectors.present()) - {lost}


WITHIN_AN_ATTEMPT = (
    Step.ATTEMPT_COMMITTED, Step.CONTENT_FETCHED, Step.CONTENT_DECODED, Step.CONTENT_EMBEDDED, Step.VECTOR_STORED,
)  # fmt: skip


@pytest.mark.parametrize("step", WITHIN_AN_ATTEMPT)
async def test_orderly_stops_use_up_no_attempts(twinlens: Stepped, step: Step) -> None:
    """However often workers are stopped within their attempts at a content, it is indexed in the end."""
    twinlens.put("k", A)
    await twinlens.ingest("k")
    for _ in range(6):
        halt, unrecorded = Halt(step), Halt(Step.VECTOR_STORED)

        async def checkpoint(reached: str, halts: tuple[Halt, ...] = (halt, unrecorded)) -> None:
            for each in halts:
                await each(reached)

        worker = twinlens.index_worker(checkpoint)
        message = ContentChanged(bucket="pictures", sha256=content_of(A).sha256)
        handling = await halted(worker.handle([twinlens.delivery(message)]), halt)
        stopping = asyncio.create_task(worker.refund_unfinished())
        if step is Step.ATTEMPT_COMMITTED:
            await asyncio.sleep(0)
            halt.release()  # The attempt has begun, though its worker does not know yet.
        await stopping
        handling.cancel()
        await asyncio.gather(handling, return_exceptions=True)
        [row] = (await twinlens.ports.catalog.contents([content_of(A)])).values()
        assert (row.state, row.attempts) == (ContentState.PENDING, 0)
    await twinlens.index(A)


async def test_a_worker_that_is_about_to_stop_begins_nothing(twinlens: Stepped) -> None:
    """What comes after the attempts were taken back would not be taken back."""
    twinlens.put("k", A)
    await twinlens.ingest("k")
    worker = twinlens.index_worker()
    await worker.refund_unfinished()
    message = ContentChanged(bucket="pictures", sha256=content_of(A).sha256)
    handling = asyncio.create_task(worker.handle([twinlens.delivery(message)]))
    await asyncio.wait({handling}, timeout=0.2)
    assert not handling.done()
    handling.cancel()
    await asyncio.gather(handling, return_exceptions=True)
    [row] = (await twinlens.ports.catalog.contents([content_of(A)])).values()
    assert row.attempts == 0
    await twinlens.index(A)


async def test_a_digest_that_was_misread_is_read_again(twinlens: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    """No object ever holds a content whose digest is wrong; the index worker finds that out and has it read again."""
    misread(twinlens, monkeypatch)
    twinlens.put("k", A)
    await twinlens.ingest("k")
    image = (await twinlens.ports.catalog.images([ref("k")]))[ref("k")]
    assert image.sha256 not in (None, content_of(A).sha256)
    await twinlens.work()


async def test_a_corrected_digest_is_not_overwritten_by_a_look_that_took_the_wrong_one(
    twinlens: Stepped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that has only seen the headers knows no digest of its own; it falls out of its batch."""
    misread(twinlens, monkeypatch)
    twinlens.put("k", A)
    await twinlens.ingest("k")
    known = await twinlens.ports.catalog.images([ref("k")])
    state = await twinlens.objects.head(ref("k"))
    assert state is not None
    await twinlens.work()
    wrong = Digest(sha256=str(known[ref("k")].sha256), md5="", size=state.size)
    late = Look(ObjectHint(ref("k")), replace(state, metadata={"external-id": "x"}), wrong)
    recorded = await record_looks([late], known, for_objects(twinlens.ports))
    assert recorded.outcomes == {}


def misread(twinlens: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some bits flip when the object store is read the next time."""
    read = twinlens.objects.read

    async def once(at: ObjectRef, sink: Callable[[bytes], object], *, max_bytes: int) -> ObjectState | None:
        monkeypatch.setattr(twinlens.objects, "read", read)
        return await read(at, lambda data: sink(data[::-1]), max_bytes=max_bytes)

    monkeypatch.setattr(twinlens.objects, "read", once)


async def test_a_late_tombstone_does_not_erase_an_image_that_came_back(
    twinlens: Stepped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that its sender has given up on arrives after the new snapshot: the image is published once more."""
    await indexed(twinlens, {"k": A})
    twinlens.delete("k")
    await twinlens.ingest("k")
    await twinlens.work()
    twinlens.clock.moment += twinlens.ports.tombstone_after + timedelta(seconds=1)
    send, late = twinlens.outbox.send, list[OutgoingMessage]()

    async def give_up(messages: Sequence[OutgoingMessage]) -> None:
        late.extend(messages)
        raise BrokerOutage("no answer in time")

    with monkeypatch.context() as patched:
        patched.setattr(twinlens.outbox, "send", give_up)
        with pytest.raises(BrokerOutage):
            await sweep(for_sweep(twinlens.ports))
    assert [message.value for message in late] == [None]
    await indexed(twinlens, {"k": A})
    await send(late)
