"""Switch to another model while pictures stay searchable: the steps of `twinlens models switch`, each safe to repeat.

::

    begin ─► bring over ─► check ─► swap ─► finish
                             │        └───► roll back
                             └─ what is missing is brought over again

``schemas.model_switch`` says what each state means to the workers, which do the work: this only sends hints for the
contents that the new collection lacks, and looks whether they came to be there. Whoever is killed between two steps is
followed by whoever calls them again; two at once do no harm.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import batched
from typing import Final

from imaging.model_spec import ModelSpec
from schemas import lifecycle, model_switch
from schemas.collection import collection_name, is_same_model
from schemas.errors import ConfigurationError, RequestRefused
from schemas.lifecycle import Rules
from schemas.model_switch import ModelSwitch, ServedModel, SwitchState
from schemas.records import ContentRecord, ContentState
from schemas.topics import Topics
from stores.broker.ports import Outbox
from stores.catalog.ports import Catalog
from stores.vectors.ports import VectorIndex
from streams.common.hints import content_hint
from streams.common.ports import Clock, Retry

PAGE: Final = 200
"""Contents that are asked for at once: so many wait in the queue at most, in front of what is put meanwhile."""
LOOK_EVERY_S: Final = 0.25
IDLE_LIMIT_S: Final = 60.0
"""Without one more content brought over for so long, the rest of a page is left for the next round."""
ROUNDS: Final = 3
"""After so many rounds without any success, what is left can't be brought over as things are."""
SENT_AGAIN_S: Final = 5.0
"""So soon hints are sent again if nothing has moved."""
GRACE_S: Final = 20.0
"""So long after the alias was moved query services may go on with the collection that it named before."""
CHECKED_AT_ONCE: Final = 500

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How many contents of the buckets were looked at in this round, and how many are missing so far."""

    contents: int
    brought_over: int
    missing: int

    def plus(self, brought_over: int, missing: int) -> Progress:
        """With so many more that were brought over, and missing."""
        return replace(self, brought_over=self.brought_over + brought_over, missing=self.missing + missing)


@dataclass(frozen=True, slots=True)
class SwitchPorts:
    """What a switch of models touches. ``vectors`` are on what the alias names."""

    catalog: Catalog
    vectors: VectorIndex
    outbox: Outbox
    topics: Topics
    clock: Clock


@dataclass(frozen=True, slots=True)
class Switching:
    """A switch to a model. ``retry`` waits outages out."""

    ports: SwitchPorts
    retry: Retry
    buckets: Sequence[str]
    sleep: Sleep = asyncio.sleep

    async def begin(self, old: ModelSpec, old_place: str, new: ModelSpec, new_place: str, alias: str) -> ModelSwitch:
        """Make the new model's collection, and have new objects go to both from then on.

        Where that switch is under way already, it is gone on with. Raises RequestRefused, ConfigurationError, Outage.
        """
        switch = await self.retry.run(self.ports.catalog.switch)
        if switch.state is not SwitchState.IDLE:
            return _expect_same(switch, new)
        live = await self.retry.run(self.ports.vectors.live)
        if not is_same_model(live.model_name, old.name):
            raise ConfigurationError(f"the live collection was made by {live.model_name}, not by {old.name}")
        if new.id == old.id:
            raise RequestRefused(f"{old.name} is in use already; give a changed model an id of its own")
        fresh = model_switch.new_model(new.name, new_place, collection_name(alias, new.id), secrets.token_hex(4))
        made = await self._planned(fresh)
        await self.retry.run(
            lambda: self.ports.vectors.create(made.collection, model_name=new.name, dimension=new.dimension)
        )
        in_use = ServedModel(old.name, old_place, live.name, old.name)
        switch = await self._change(
            lambda switch, now: model_switch.begin(switch, in_use, made, now),
            unless=[state for state in SwitchState if state is not SwitchState.IDLE],
        )
        return _expect_same(switch, new)

    async def _planned(self, fresh: ServedModel) -> ServedModel:
        """The new model with the collection that is to be made: that of a command that was killed, or a new one."""
        planned = (await self.retry.run(self.ports.catalog.switch)).new
        if planned is not None and planned.name == fresh.name:
            return planned
        if planned is not None:
            await self.retry.run(partial(self.ports.vectors.drop, planned.collection))
        return (await self._change(lambda switch, now: model_switch.plan(switch, fresh, now), unless=[])).new or fresh

    async def count(self) -> int:
        """How many contents there are."""
        counts = self.ports.catalog.count_contents
        return sum([await self.retry.run(partial(counts, bucket)) for bucket in self.buckets])

    async def bring_over(self, switch: ModelSwitch, rate: float) -> AsyncIterator[Progress]:
        """Have the index workers store what the new collection lacks, at most ``rate`` contents a second (0: no limit).

        One round through all contents; ``missing`` of the last is what is still missing then.
        """
        burst = min(PAGE, max(1, int(rate))) if rate else PAGE
        done = Progress(0, 0, 0)
        for bucket in self.buckets:
            after = -1
            while page := await self._page(bucket, after):
                after = page[-1].vector_id
                done = replace(done, contents=done.contents + len(page))
                for lacking in batched((content for content in page if _lacks(content, switch)), burst):
                    begun, left = self.ports.clock.now(), len(lacking)
                    async for left in self._requested(lacking, switch):
                        yield done.plus(len(lacking) - left, left)
                    done = done.plus(len(lacking) - left, left)
                    spent = (self.ports.clock.now() - begun).total_seconds()
                    if rate and len(lacking) / rate > spent:
                        await self.sleep(len(lacking) / rate - spent)
                yield done

    async def _page(self, bucket: str, after: int) -> list[ContentRecord]:
        return await self.retry.run(
            lambda: self.ports.catalog.page_of_contents_by_vector(bucket, after=after, limit=PAGE)
        )

    async def _requested(self, lacking: Sequence[ContentRecord], switch: ModelSwitch) -> AsyncIterator[int]:
        """Send hints, and look until all is there or nothing moves any more; how much is left.

        They are sent again after a while: a worker that does not know of the switch yet takes them for settled.
        """
        left, idle = list(lacking), 0.0
        while left and idle < IDLE_LIMIT_S:
            if idle % SENT_AGAIN_S == 0:
                await self.retry.run(
                    partial(self.ports.outbox.send, [content_hint(content.id, self.ports.topics) for content in left])
                )
            await self.sleep(LOOK_EVERY_S)
            before, left = len(left), await self._still_lacking(left, switch)
            idle = LOOK_EVERY_S if len(left) < before else idle + LOOK_EVERY_S
            yield len(left)

    async def _still_lacking(self, contents: Sequence[ContentRecord], switch: ModelSwitch) -> list[ContentRecord]:
        ids = [content.id for content in contents]
        rows = await self.retry.run(lambda: self.ports.catalog.contents(ids))
        return [row for row in rows.values() if _lacks(row, switch)]

    async def check(self, switch: ModelSwitch) -> AsyncIterator[tuple[int, int]]:
        """Compare the new collection with the catalog, id by id; how many contents were looked at, and are missing.

        Vectors that no content carries are deleted. Of contents whose vector is missing though they are marked, the
        mark is taken, so that another round brings them over.
        """
        vectors = _new_vectors(switch, self.ports.vectors)
        looked_at = missing = 0
        for bucket in self.buckets:
            await self._delete_orphans(bucket, vectors)
            after = -1
            while page := await self.retry.run(
                partial(self.ports.catalog.page_of_contents_by_vector, bucket, after=after, limit=CHECKED_AT_ONCE)
            ):
                after = page[-1].vector_id
                missing += await self._missing_of(page, switch, vectors)
                looked_at += len(page)
                yield looked_at, missing

    async def _missing_of(self, page: Sequence[ContentRecord], switch: ModelSwitch, vectors: VectorIndex) -> int:
        indexed = [content for content in page if content.state is ContentState.INDEXED]
        ids = [content.vector_id for content in indexed]
        stored = await self.retry.run(lambda: _complete(vectors, ids)) if ids else set()
        lost = {content.id: content for content in indexed if content.vector_id not in stored}
        if not lost:
            return sum(_lacks(content, switch) for content in indexed)
        rules = _rules(switch)

        async def forget() -> int:
            async with self.ports.catalog.transaction() as tx:
                rows = await tx.lock_contents(lost)
                still = [row for row in rows.values() if lifecycle.has_lost(row, lost[row.id])]
                await tx.save_contents([lifecycle.forget_other(row, rules) for row in still])
                return len(still)

        kept = sum(_lacks(content, switch) for content in indexed if content.id not in lost)
        return kept + await self.retry.run(forget)

    async def _delete_orphans(self, bucket: str, vectors: VectorIndex) -> None:
        """Of contents that were removed by workers that did not know of the new collection yet."""
        after = -1
        while True:
            found = await self.retry.run(partial(_ids_after, vectors, bucket, after))
            if not found:
                return
            carried = await self.retry.run(partial(self.ports.catalog.contents_by_vector, found))
            orphans = [number for number in found if number not in carried]
            if orphans:
                await self.retry.run(partial(vectors.delete, orphans))
            after = found[-1]

    async def swap(self) -> ModelSwitch:
        """The new model is in use from now on. Safe to repeat, also when it was broken off."""
        switch = await self.retry.run(self.ports.catalog.switch)
        if switch.state is SwitchState.BUILDING:
            switch = await self._change(model_switch.swap, unless=[SwitchState.SWAPPED])
        if switch.state is not SwitchState.SWAPPED or switch.new is None:
            raise RequestRefused(f"there is nothing to swap: the switch of models is {switch.state}")
        new = switch.new
        await self.retry.run(lambda: self.ports.vectors.make_live(new.collection))
        return switch

    async def remind(self, switch: ModelSwitch) -> int:
        """Have workers look at what was left behind, which the model in use does not find; how much it is."""
        count = 0
        for bucket in self.buckets:
            after = -1
            while page := await self._page(bucket, after):
                after = page[-1].vector_id
                hints = [content_hint(content.id, self.ports.topics) for content in page if _lacks(content, switch)]
                await self.retry.run(partial(self.ports.outbox.send, hints))
                count += len(hints)
        return count

    async def roll_back(self) -> None:
        """The old model is in use again, and nothing is left of the switch. Raises RequestRefused where none is on."""
        switch = await self.retry.run(self.ports.catalog.switch)
        if switch.state is SwitchState.SWAPPED:
            switch = await self._change(model_switch.roll_back, unless=[SwitchState.RETURNING])
        if switch.state is SwitchState.RETURNING and switch.old is not None:
            old = switch.old
            await self.retry.run(lambda: self.ports.vectors.make_live(old.collection))
            await self.sleep(GRACE_S)
        if switch.state in (SwitchState.BUILDING, SwitchState.RETURNING):
            switch = await self._change(model_switch.abandon, unless=[SwitchState.ABANDONED])
        if switch.state is not SwitchState.ABANDONED:
            raise RequestRefused(f"there is nothing to roll back: the switch of models is {switch.state}")
        await self._conclude(switch)

    async def finish(self, configured: ModelSpec) -> None:
        """Drop the old collection; there is no way back from here.

        Raises RequestRefused where the new model is not in use yet, or ``model.spec`` does not name it: by that,
        workers and query services go from then on.
        """
        switch = await self.retry.run(self.ports.catalog.switch)
        if switch.state not in (SwitchState.SWAPPED, SwitchState.FINISHING) or switch.new is None:
            raise RequestRefused(f"there is nothing to finish: the switch of models is {switch.state}")
        if configured.name != switch.new.name:
            raise RequestRefused(
                f"first set model.spec to {switch.new.spec} everywhere (it names {configured.name} here): "
                "the settings say again which model is in use when the switch is forgotten"
            )
        if switch.state is SwitchState.SWAPPED:
            switch = await self.swap()
            await self.sleep(GRACE_S)
            switch = await self._change(model_switch.finish, unless=[SwitchState.FINISHING])
        await self._conclude(switch)

    async def _conclude(self, switch: ModelSwitch) -> None:
        """Drop the collection that is left, and forget the switch."""
        left = switch.left
        assert left is not None
        await self.retry.run(lambda: self.ports.vectors.drop(left.collection))
        await self._change(model_switch.conclude, unless=[SwitchState.IDLE])

    async def _change(
        self, change: Callable[[ModelSwitch, datetime], ModelSwitch], *, unless: Collection[SwitchState]
    ) -> ModelSwitch:
        """Make a transition under the lock, unless it was made already; the switch as it is then.

        It may have been made by this very call, which then did not hear of its commit.
        """

        async def once() -> ModelSwitch:
            async with self.ports.catalog.transaction() as tx:
                switch = await tx.lock_switch()
                if switch.state in unless:
                    return switch
                changed = change(switch, self.ports.clock.now())
                await tx.save_switch(changed)
                return changed

        return await self.retry.run(once)


def _rules(switch: ModelSwitch) -> Rules:
    """What index workers decide by while the new collection is built, as far as it matters here."""
    assert switch.old is not None
    assert switch.new is not None
    return Rules("", switch.old.mark, 1, switch.new.mark)


def _lacks(content: ContentRecord, switch: ModelSwitch) -> bool:
    return lifecycle.lacks_other(content, _rules(switch))


def _new_vectors(switch: ModelSwitch, vectors: VectorIndex) -> VectorIndex:
    assert switch.new is not None
    return vectors.of(switch.new.collection)


async def _complete(vectors: VectorIndex, ids: Sequence[int]) -> set[int]:
    """Those of the ids whose vector is there, with all views that the collection has."""
    return await vectors.known(ids) - await vectors.incomplete(ids)


async def _ids_after(vectors: VectorIndex, bucket: str, after: int) -> Sequence[int]:
    """The first page of ids above this one."""
    async for ids in vectors.ids(bucket=bucket, after=after, page=CHECKED_AT_ONCE):
        return ids
    return ()


def _expect_same(switch: ModelSwitch, new: ModelSpec) -> ModelSwitch:
    if switch.new is None or switch.new.name != new.name:
        name = switch.new.name if switch.new else "nothing"
        raise RequestRefused(f"a switch to {name} is under way ({switch.state}): finish it, or roll it back, first")
    return switch
