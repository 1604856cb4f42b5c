"""An installation whose workers stop where a test says: real handlers, a real SQL catalog, the rest in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from schemas.messages import ContentChanged, ImageChanged, ObjectHint, encode_key
from schemas.records import ContentId, ContentState, ObjectRef, ObjectState
from schemas.settings import IndexSettings, RetrySettings, Settings
from stores.catalog.ports import Catalog
from stores.objects.memory import MemoryObjects
from streams.assembly import for_objects, for_sweep
from streams.common.checkpoints import Step
from streams.common.deliveries import Delivery
from streams.ingest.converge_objects import ObjectOutcome, converge_objects
from streams.repair.sweep import sweep
from tests.harness.inference import embedding_of
from tests.harness.installation import BUCKET, Installation, content_of, ref

RETRY = RetrySettings(budget_s=60, wait_initial_s=0.01, wait_max_s=0.01, wait_jitter_s=0)
"""A database under test asks for another try now and then."""


class Halt:
    """Stops the first worker that comes to a step, until it is released."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._there = asyncio.Event()
        self._go = asyncio.Event()

    async def __call__(self, step: str) -> None:
        """The checkpoint."""
        if step == self._step and not self._there.is_set():
            self._there.set()
            await self._go.wait()

    async def arrival(self, task: asyncio.Task[object]) -> None:
        """Return when the worker has stopped there; fail if it ended without coming by."""
        arrival = asyncio.create_task(self._there.wait())
        await asyncio.wait({task, arrival}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        arrival.cancel()
        assert self._there.is_set(), f"the worker never came to {self._step}: {task}"

    def release(self) -> None:
        """Let it go on."""
        self._go.set()


class SecondsObjects(MemoryObjects):
    """Last-Modified in whole seconds, as HTTP has it: what is put within a second can't be told apart by time."""

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """See ObjectReader."""
        return _in_seconds(await super().head(ref))

    async def read(self, ref: ObjectRef, sink: Callable[[bytes], object], *, max_bytes: int) -> ObjectState | None:
        """See ObjectReader."""
        return _in_seconds(await super().read(ref, sink, max_bytes=max_bytes))


def _in_seconds(state: ObjectState | None) -> ObjectState | None:
    return state and replace(state, last_modified=state.last_modified.replace(microsecond=0))


class Stepped(Installation):
    """An installation on a catalog, whose announcements tests hand to workers one by one."""

    def __init__(self, catalog: Catalog) -> None:
        settings = Settings(retry=RETRY, index=IndexSettings(nearest=2))
        super().__init__(catalog, settings=settings, objects=SecondsObjects)
        self._announced = 0

    def put(self, key: str, data: bytes) -> ObjectHint:
        """Somebody puts an object; the announcement of that."""
        state = self.objects.put_now(ref(key), data)
        self._announced += 1
        return ObjectHint(
            state.ref, self.clock.now(), sequencer=f"{self._announced:016X}", etag=state.etag, size=state.size
        )

    async def recorded(self, key: str) -> ContentId | None:
        """The content that the catalog says a key has."""
        image = (await self.ports.catalog.images([ref(key)])).get(ref(key))
        return image.content_id if image else None

    async def ingest(self, key: str, reached: Halt | None = None, event_time: datetime | None = None) -> ObjectOutcome:
        """An ingest worker with a hint about a key."""
        return await self.ingest_hints(ObjectHint(ref(key), event_time), reached=reached)

    async def ingest_hints(self, *hints: ObjectHint, reached: Halt | None = None) -> ObjectOutcome:
        """An ingest worker with a batch of hints about one key."""
        ports = replace(self.ports, reached=reached) if reached else self.ports
        [outcome] = (await self.retry.run(lambda: converge_objects(hints, for_objects(ports)))).values()
        return outcome

    async def index(self, data: bytes, reached: Halt | None = None, *, verify: bool = False) -> None:
        """An index worker with a message about a content."""
        await self._index(ContentChanged(bucket=BUCKET, sha256=content_of(data).sha256, verify=verify), reached)

    async def _index(self, message: ContentChanged, reached: Halt | None = None) -> None:
        """A worker of its own, which has nothing else to do."""
        await self.index_worker(reached).handle([self.delivery(message)])
        assert self.outbox.to(self.topics.dead_letters) == []

    def delivery(self, message: ContentChanged) -> Delivery:
        """A message about a content."""
        return Delivery(self.topics.contents, 0, 0, None, message.encode(), {})

    async def work(self) -> None:
        """Workers handle all messages that were sent, until there are no more; they understand all of them."""
        await super().work()
        assert self.outbox.to(self.topics.dead_letters) == []

    async def come_to_rest(self) -> None:
        """Messages are handled, and the sweep takes up what is left, until nothing is."""
        await self.work()
        for _ in range(10):
            self.clock.moment += timedelta(hours=1)
            if await self.retry.run(lambda: sweep(for_sweep(self.ports))) == 0:
                return
            await self.work()
        raise AssertionError("the installation does not come to rest")

    async def assert_agreement(self) -> None:
        """Bucket, catalog, vectors and change stream agree."""
        catalog = self.ports.catalog
        bucket = {key: hashlib.sha256(data).hexdigest() for key, data in self.objects.present(BUCKET).items()}
        images = await catalog.page_of_images(BUCKET, prefix="", after="", limit=1000)
        assert {image.key: image.sha256 for image in images} == bucket
        contents = await catalog.page_of_contents(BUCKET, after="", limit=1000)
        assert {row.sha256 for row in contents} == set(bucket.values())
        assert all(row.state is ContentState.INDEXED and row.dirty_since is None for row in contents)
        assert not any(row.retired for row in contents)
        stored = {number: entry.vector for number, entry in self.vectors.present().items()}
        assert set(stored) == {row.vector_id for row in contents}
        pictures = {hashlib.sha256(data).hexdigest(): data for data in self.objects.present(BUCKET).values()}
        for row in contents:
            assert np.allclose(stored[row.vector_id], embedding_of(pictures[row.sha256]))
        assert self._published() == {key: ("indexed", digest) for key, digest in bucket.items()}

    def _published(self) -> Mapping[str, tuple[str, str | None]]:
        """What a reader of the change stream knows to be there."""
        last: dict[str, ImageChanged] = {}
        for message in self.outbox.to(self.topics.image_changes):
            if message.value is None:
                last = {key: change for key, change in last.items() if encode_key(ref(key)) != message.key}
                continue
            change = ImageChanged.decode(message.value)
            assert change.key not in last or change.version > last[change.key].version
            last[change.key] = change
        return {key: (str(each.state), each.sha256) for key, each in last.items() if each.state != "removed"}
