"""The course of a run, and what must hold at its end."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping
from contextvars import copy_context
from typing import Any

import numpy as np
from structlog.testing import capture_logs

from schemas.collection import view_collections
from schemas.lifecycle import image_state
from schemas.messages import ContentChanged, ImageChanged, bucket_event, encode_key
from schemas.records import EXTERNAL_ID, ContentId, ContentState, ObjectRef
from streams.repair.comparison_requests import REQUESTED, name_of
from tests.harness.inference import embedding_of, view_of
from tests.harness.installation import BUCKET
from tests.simulation.chaos import WORKER
from tests.simulation.switches import NEW, End
from tests.simulation.world import (
    PICTURES,
    TOPICS,
    Message,
    World,
    build,
    index,
    ingest,
    other_embedding_of,
    sweep,
)

MOVES = 5_000
"""Moves of the driver before a run counts as one that does not come to rest."""
PATIENCE = 30
"""Moves without an effect before the world takes a hand."""
ROUNDS = 60
"""Sweeps at the end before a run counts as one that does not come to rest."""

NO_FOCUS: Mapping[str, Any] = {}


def simulate(seed: int, focus: Mapping[str, Any] = NO_FOCUS) -> str | None:
    """Run one seed; what was wrong at its end, or None. Nothing that workers log may be an error."""
    world = build(seed, focus)
    with capture_logs() as logs:
        try:
            world.loop.run(_course(world))
        except RuntimeError as error:
            return f"stuck: {error}"
    if world.failures:
        return world.failures[0]
    errors = [str(entry) for entry in logs if entry["log_level"] in ("error", "critical")]
    return f"logged: {errors[0]}" if errors else _disagreement(world)


async def _course(world: World) -> None:
    try:
        await _drive(world)
        await _come_to_rest(world)
    finally:
        left = world.tasks | {task for task in world.chaos.late if not task.done()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _Driver:
    """Moves that the world makes while the workers work."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.left = world.shape.operations
        self.crashes = world.shape.crashes
        self.losses = world.shape.losses
        self.duplicates = world.shape.duplicates
        self.denials = world.shape.denials
        self.bucket_outages = world.shape.bucket_outages

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do but waiting for what the sweep finds."""
        world = self.world
        at_work = len(world.tasks) - world.switcher.is_running
        return not (self.left or world.switcher.is_wanted or at_work or any(world.queues.values()))

    def move(self) -> bool:  # noqa: C901 - a list of what may happen
        """One thing that happens; whether anything did (a sweep that finds nothing to do is none)."""
        world, chance = self.world, self.world.random.random
        if self.left and chance() < world.shape.haste:
            self.operate()
        elif self.crashes and world.tasks and chance() < 0.03:
            self.crashes -= 1
            self._crash()
        elif self.losses and world.queues.get(TOPICS.contents) and chance() < 0.03:
            self.losses -= 1
            queue = world.queues[TOPICS.contents]
            queue.pop(world.random.randrange(len(queue)))
        elif self.duplicates and any(world.queues.values()) and chance() < 0.04:
            self._duplicate()
        elif (self.denials or world.objects.denied) and chance() < 0.02:
            self._deny_or_allow()
        elif (self.bucket_outages or world.objects.missing) and chance() < 0.02:
            self._take_or_return_the_bucket()
        elif chance() < 0.005:
            world.loop.skip(world.random.choice((0.5, 40)))
            _start(world, sweep(world))
        elif world.switcher.is_wanted and chance() < 0.05:
            _switch_models(world)
        elif world.stalled and chance() < 0.02:
            world.wake()
        elif len(world.tasks) - world.switcher.is_running < world.shape.workers:
            return _work(world)
        else:
            return False
        return True

    def nudge(self) -> None:
        """Nothing has happened for a while: change the bucket, or let somebody go on."""
        if self.left and (not self.world.stalled or self.world.random.random() < 0.6):
            self.operate()
        elif self.world.stalled:
            self.world.wake()

    def _crash(self) -> None:
        world = self.world
        victim = world.random.choice(sorted(world.tasks, key=lambda task: task.get_name()))
        world.chaos.may_be_orphans |= world.chaos.storing.get(victim.get_name(), set())
        victim.cancel()

    def _deny_or_allow(self) -> None:
        """An object can't be read any more, or can be again."""
        denied, random = self.world.objects.denied, self.world.random
        if denied and (not self.denials or random.random() < 0.5):
            denied.remove(random.choice(sorted(denied)))
        else:
            self.denials -= 1
            denied.add(ObjectRef(BUCKET, f"key {random.randrange(self.world.shape.keys)}"))

    def _take_or_return_the_bucket(self) -> None:
        missing = self.world.objects.missing
        if missing:
            missing.clear()
        else:
            self.bucket_outages -= 1
            missing.add(BUCKET)

    def operate(self) -> None:
        """Change the bucket, if that may still happen."""
        if self.left == 0:
            return
        self.left -= 1
        world, random = self.world, self.world.random
        ref = ObjectRef(BUCKET, f"key {random.randrange(world.shape.keys)}")
        if random.random() < world.shape.lost_vectors:
            self._lose_a_vector()
        elif random.random() < world.shape.deletes:
            world.objects.delete_now(ref)
        else:
            metadata = {"external-id": random.choice("xy")} if random.random() < 0.2 else {}
            world.objects.put_now(ref, random.choice(PICTURES[: world.shape.pictures]), metadata=metadata)

    def _lose_a_vector(self) -> None:
        """The index lost a vector, and reconcile asks to look."""
        world = self.world
        indexed = [row for row in world.catalog.content_rows.values() if row.state is ContentState.INDEXED]
        if indexed:
            row = world.random.choice(sorted(indexed, key=lambda row: row.id))
            self._lose_of(row.vector_id)
            world.lost.add(row.vector_id)
            lost = ContentChanged(bucket=row.bucket, sha256=row.sha256, verify=True)
            _verify(world, lost)

    def _lose_of(self, vector_id: int) -> None:
        """The whole, or one of the views that there are."""
        vectors, views = self.world.vectors, self.world.shape.views
        live = vectors._server.alias
        if views != "none" and live is not None:
            vectors = vectors.of(self.world.random.choice([live, *view_collections(live, views)]))
        vectors.lose(vector_id)

    def _duplicate(self) -> None:
        world = self.world
        self.duplicates -= 1
        queue = world.queues[world.random.choice(sorted(topic for topic, queue in world.queues.items() if queue))]
        queue.append(Message(world.random.choice(queue).value))


def _verify(world: World, message: ContentChanged) -> None:
    """Reconcile's message; unlike others it is not lost, since no mark in the catalog would bring it again."""
    world.verifications.append(message)
    world.queues.setdefault(TOPICS.contents, []).append(Message(message.encode()))


async def _drive(world: World) -> None:
    driver = _Driver(world)
    world.disturb = driver.operate
    idle = 0
    for _ in range(MOVES):
        if driver.is_done or world.failures:
            return
        idle = 0 if driver.move() else idle + 1
        if idle > PATIENCE:
            driver.nudge()
            idle = 0
        await asyncio.sleep(0)
    world.failures.append("the run does not come to rest")


def _work(world: World) -> bool:
    """Give a worker something to do; whether there was anything."""
    free = {topic: [message for message in queue if not message.holders] for topic, queue in world.queues.items()}
    filled = sorted(topic for topic, queue in free.items() if queue)
    if not filled or world.random.random() < world.shape.zombies:
        free = world.queues
        filled = sorted(topic for topic, queue in free.items() if queue)
        if not filled or not (world.quiet or world.random.random() < world.shape.zombies):
            return False
    topic = world.random.choice(filled)
    batch = world.random.sample(free[topic], min(len(free[topic]), world.random.choice((1, 1, 2, 3))))
    for message in batch:
        message.holders += 1
    task = _start(world, ingest(world, batch) if topic == TOPICS.bucket_events else index(world, batch))
    task.add_done_callback(lambda _: _let_go(batch))
    return True


def _let_go(batch: list[Message]) -> None:
    for message in batch:
        message.holders -= 1


def _start(world: World, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    name = f"{len(world.names):05}"
    context = copy_context()
    context.run(WORKER.set, name)
    task = world.loop.create_task(work, name=name, context=context)
    world.names.append(task.get_name())
    world.tasks.add(task)
    task.add_done_callback(lambda done: _ended(world, done))
    return task


def _switch_models(world: World) -> None:
    world.switcher.is_running = True
    _start(world, world.switcher.run()).add_done_callback(lambda _: world.switcher.stopped())


def _ended(world: World, task: asyncio.Task[None]) -> None:
    world.tasks.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        world.failures.append(f"bug: {type(error).__name__}: {error}")


async def _come_to_rest(world: World) -> None:
    world.quiet = True
    world.chaos.calm()
    while world.stalled:
        world.wake()
    await asyncio.gather(*world.chaos.late)
    world.objects.denied.clear()
    world.objects.missing.clear()
    for message in world.verifications:
        world.queues.setdefault(TOPICS.contents, []).append(Message(message.encode()))
    if name_of(REQUESTED, BUCKET) in world.catalog.positions:
        _compare_the_bucket(world)
    for _ in range(ROUNDS):
        if world.failures or (world.switcher.is_done and _at_rest(world)):
            return
        if world.switcher.is_wanted:
            _switch_models(world)
        world.loop.skip(world.ports.sweep.max_wait_s + 1)
        _start(world, sweep(world))
        while world.tasks or any(world.queues.values()):
            if len(world.tasks) <= world.switcher.is_running:
                _work(world)
            # The command waits for what the workers do, so they don't wait for it.
            until = asyncio.FIRST_COMPLETED if world.switcher.is_running else asyncio.ALL_COMPLETED
            await asyncio.wait(list(world.tasks), timeout=1 if world.switcher.is_running else None, return_when=until)
            if world.failures:
                return
    world.failures.append("the run does not come to rest")


def _compare_the_bucket(world: World) -> None:
    """What reconcile would do: have everybody look at each object that there is, or that the catalog knows."""
    for number in range(world.shape.keys):
        event = bucket_event(ObjectRef(BUCKET, f"key {number}"), event_name="Reconcile", event_time=world.now())
        world.queues.setdefault(TOPICS.bucket_events, []).append(Message(event))


def _at_rest(world: World) -> bool:
    rows = world.catalog
    dirty = any(row.dirty_since or row.resend_due or row.retry_due for row in rows.content_rows.values())
    unpublished = any(row.publish_due or row.retry_due for row in rows.image_rows.values())
    return not (dirty or unpublished or world.tasks or any(world.queues.values()))


def _disagreement(world: World) -> str | None:
    """The first thing in which bucket, catalog, vectors and change stream do not agree."""
    for check in (_images, _contents, _vectors, _changes):
        found = check(world)
        if found is not None:
            return found
    if world.loop.errors:
        return f"an error that nobody saw: {world.loop.errors[0]}"
    return None


def _images(world: World) -> str | None:
    versions = world.objects._buckets[BUCKET]
    bucket = {
        key: (hashlib.sha256(version.data).hexdigest(), version.state.metadata.get(EXTERNAL_ID))
        for key, version in versions.items()
    }
    catalog = {row.key: (row.sha256, row.external_id) for row in world.catalog.image_rows.values()}
    return None if catalog == bucket else f"the catalog differs from the bucket: {catalog} {bucket}"


def _contents(world: World) -> str | None:
    stored = {
        ContentId(BUCKET, hashlib.sha256(data).hexdigest()): data for data in world.objects.present(BUCKET).values()
    }
    rows = world.catalog.content_rows
    if set(rows) != set(stored):
        return f"contents that nobody needs, or missing ones: {set(rows) ^ set(stored)}"
    for content_id, data in stored.items():
        wanted = ContentState.REJECTED if data == b"no picture" else ContentState.INDEXED
        if rows[content_id].state is not wanted:
            return f"a content is {rows[content_id].state} instead of {wanted}"
    return None


def _vectors(world: World) -> str | None:
    """Each collection that is served is what its model would make anew; of a switch, no more is left than it says."""
    switch = world.catalog.switch_row
    live = world.vectors._server.alias
    assert live is not None
    served = {live} | ({switch.old.collection, switch.new.collection} if switch.old and switch.new else set())
    views = {name for each in served for name in view_collections(each, world.shape.views)}
    if world.vectors.collections() != served | views:
        return f"collections that nobody needs, or missing ones: {world.vectors.collections() ^ (served | views)}"
    ends = world.shape.switches
    is_new = world.vectors._server.collections[live].model_name == NEW.name
    if is_new != bool(ends and ends[-1] in (End.SWAPPED, End.FINISHED)):
        return f"the alias names {live} after the switches {ends}"
    found = [_collection(world, name) for name in sorted(served)]
    for each in sorted(served):
        names = view_collections(each, world.shape.views)
        found += [_collection(world, name, number) for number, name in enumerate(names, 1)]
    return next((each for each in found if each is not None), None)


def _collection(world: World, name: str, view: int = 0) -> str | None:
    """Of wholes, or of the views of this number."""
    collection = world.vectors._server.collections[name]
    present = dict(collection.entries)
    embedding = other_embedding_of if collection.model_name == NEW.name else embedding_of
    for content_id, row in world.catalog.content_rows.items():
        if row.state is not ContentState.INDEXED:
            continue
        entry = present.pop(row.vector_id, None)
        if entry is None:
            return "a vector is missing"
        data = next(picture for picture in PICTURES if hashlib.sha256(picture).hexdigest() == content_id.sha256)
        if not np.allclose(entry.vector, embedding(view_of(data, view) if view else data), atol=1e-6):
            return "a vector is another picture's"
    if set(present) - world.chaos.may_be_orphans:
        return "a vector that no content carries, though nobody crashed while storing it"
    return None


def _changes(world: World) -> str | None:
    last: dict[str, ImageChanged] = {}
    versions: dict[str, int] = {}
    for message in world.changes:
        if message.value is None:
            last = {key: change for key, change in last.items() if encode_key(ObjectRef(BUCKET, key)) != message.key}
            continue
        change = ImageChanged.decode(message.value)
        if change.version <= versions.get(change.key, 0):
            return "a version did not rise"
        versions[change.key] = change.version
        last[change.key] = change
    rows = world.catalog.image_rows
    for row in rows.values():
        published = last.pop(row.key, None)
        state, _ = image_state(row, world.catalog.content_rows.get(row.content_id) if row.content_id else None)
        told = published and (published.state, published.sha256, published.version)
        if told != (state, row.sha256, row.version):
            return f"the last published snapshot is not the truth: {published} {row}"
    if last:
        return f"an image was removed, and the change stream keeps it: {last}"
    return None
