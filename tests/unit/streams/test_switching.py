"""The steps of a switch of models, on real handlers and stores in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest

from imaging.decoding import Pixels
from schemas.errors import ConfigurationError, RequestRefused
from schemas.model_switch import ModelSwitch, SwitchState
from schemas.records import ContentRecord, Neighbour
from schemas.similarity import Verdict
from stores.catalog.memory import MemoryCatalog
from stores.catalog.ports import Reference
from stores.vectors.ports import Vector
from streams.assembly import for_index, for_switch
from streams.common.ports import Checkpoint
from streams.index.batches import Index
from streams.models.compare import compare_models
from streams.models.serving import served_vectors
from streams.models.switch import PAGE, Switching
from streams.publish import snapshot
from tests.harness.inference import DIMENSION, MODEL, PictureInference
from tests.harness.inference import embedding_of as old_embedding_of
from tests.harness.installation import BUCKET, ref
from tests.harness.stepping import Stepped

pytestmark = pytest.mark.asyncio

OLD: Final[Any] = SimpleNamespace(name=MODEL, id=MODEL, dimension=DIMENSION)
NEW: Final[Any] = SimpleNamespace(name="new@1", id="new", dimension=DIMENSION)
OTHER: Final[Any] = SimpleNamespace(name="third@1", id="third", dimension=DIMENSION)


def embedding_of(data: bytes) -> Vector:
    """A vector by the new model: another one than the old model's."""
    return -old_embedding_of(data)[::-1].copy()


class NewInference(PictureInference):
    """The new model."""

    async def embed(self, pictures: Sequence[Pixels]) -> list[Vector]:
        """Its embeddings."""
        return [embedding_of(pixels.tobytes()) for pixels in pictures]


class Switched(Stepped):
    """An installation whose workers go by the switch of models, and handle their messages whenever a command sleeps."""

    def __init__(self) -> None:
        self.rows = MemoryCatalog()
        super().__init__(self.rows)
        self.slept = 0.0
        self.asleep = False
        self.steps = Switching(for_switch(self.ports), self.retry, [BUCKET], self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        if not self.asleep:
            await self.work()

    def index_worker(self, reached: Checkpoint | None = None) -> Index:
        """One that was started just now."""
        switch = self.rows.switch_row
        ports = self.ports.on(served_vectors(self.ports.vectors, switch))
        models = {MODEL: PictureInference, NEW.name: NewInference}
        in_use, other = (
            models[served.name](served.mark) if served else PictureInference()
            for served in (switch.in_use, switch.other)
        )
        aside = self.aside("index")
        return Index(
            for_index(ports), self.retry, aside, self.settings.index, in_use, other=other if switch.other else None
        )

    async def fill(self, count: int) -> None:
        """Pictures that are indexed."""
        for number in range(count):
            await self.ingest_hints(self.put(f"k{number}", b"picture %d" % number))
        await self.come_to_rest()

    async def begin(self, new: Any = NEW) -> ModelSwitch:
        """Begin to switch."""
        return await self.steps.begin(OLD, "old", new, "new", "twinlens")

    async def bring_over(self, switch: ModelSwitch, rate: float = 0) -> tuple[int, int]:
        """One round; how many contents were brought over, and how many are missing."""
        done = [progress async for progress in self.steps.bring_over(switch, rate)][-1]
        return done.brought_over, done.missing

    async def missing(self, switch: ModelSwitch) -> int:
        """What the comparison with the catalog finds missing."""
        return [missing async for _, missing in self.steps.check(switch)][-1]

    async def contents(self) -> list[ContentRecord]:
        """All of them."""
        return await self.rows.page_of_contents(BUCKET, after="", limit=1000)


async def test_a_whole_switch() -> None:
    """New pictures go to both collections, old ones are brought over, the alias moves, and the old collection goes."""
    twinlens = Switched()
    await twinlens.fill(5)
    switch = await twinlens.begin()
    await twinlens.ingest_hints(twinlens.put("new", b"a new picture"))
    await twinlens.come_to_rest()
    assert await twinlens.bring_over(switch) == (5, 0)
    assert await twinlens.bring_over(switch) == (0, 0)
    assert await twinlens.missing(switch) == 0
    old = await twinlens.vectors.live()
    await twinlens.steps.swap()
    live = await twinlens.vectors.live()
    assert (old.model_name, live.model_name) == (MODEL, NEW.name)
    assert set(twinlens.vectors.present()) == {row.vector_id for row in await twinlens.contents()}
    twinlens.delete("k0")
    await twinlens.ingest("k0")
    await twinlens.come_to_rest()
    assert len(twinlens.vectors.present()) == len(twinlens.vectors.of(old.name).present()) == 5
    await twinlens.steps.finish(NEW)
    assert twinlens.vectors.collections() == {live.name}
    assert (await twinlens.rows.switch()).state is SwitchState.IDLE
    await twinlens.come_to_rest()
    assert len(await twinlens.contents()) == 5


async def test_the_way_back() -> None:
    """After a rollback the old collection is in use, complete, and nothing is left of the other."""
    twinlens = Switched()
    await twinlens.fill(3)
    before = await twinlens.vectors.live()
    switch = await twinlens.begin()
    await twinlens.bring_over(switch)
    await twinlens.steps.swap()
    await twinlens.ingest_hints(twinlens.put("new", b"a new picture"))
    await twinlens.come_to_rest()
    await twinlens.steps.roll_back()
    assert await twinlens.vectors.live() == before
    assert twinlens.vectors.collections() == {before.name}
    await twinlens.come_to_rest()
    await twinlens.assert_agreement()
    with pytest.raises(RequestRefused, match="nothing to roll back"):
        await twinlens.steps.roll_back()


async def test_what_an_earlier_switch_stored_is_not_trusted() -> None:
    """A second switch to the same model, after the first was abandoned, brings everything over again."""
    twinlens = Switched()
    await twinlens.fill(3)
    for _ in range(2):
        switch = await twinlens.begin()
        assert await twinlens.bring_over(switch) == (3, 0)
        assert await twinlens.missing(switch) == 0
        await twinlens.steps.roll_back()


async def test_a_lost_vector_is_found_before_the_swap() -> None:
    """What is marked and not there is missing, and brought over again; what nobody carries is deleted."""
    twinlens = Switched()
    await twinlens.fill(3)
    switch = await twinlens.begin()
    await twinlens.bring_over(switch)
    assert switch.new is not None
    new = twinlens.vectors.of(switch.new.collection)
    first = next(iter(new.present()))
    entry = new.present()[first]
    await new.upsert([entry._replace(vector_id=first + 1)])
    new.lose(first)
    assert await twinlens.missing(switch) == 1
    assert await twinlens.bring_over(switch) == (1, 0)
    assert await twinlens.missing(switch) == 0
    assert set(new.present()) == {row.vector_id for row in await twinlens.contents()}


async def test_what_cannot_be_read_is_left_where_it_is() -> None:
    """An indexed picture that can't be read stays indexed by the old model, and uses up no attempts."""
    twinlens = Switched()
    await twinlens.fill(2)
    switch = await twinlens.begin()
    twinlens.objects.denied.add(ref("k0"))
    assert await twinlens.bring_over(switch) == (1, 1)
    rows = await twinlens.contents()
    assert sorted(row.other_model is None for row in rows) == [False, True]
    assert {(row.state, row.attempts) for row in rows} == {("indexed", 0)}
    twinlens.objects.denied.clear()
    assert await twinlens.bring_over(switch) == (1, 0)


async def test_the_rate_is_kept() -> None:
    """Of ten contents at two a second, no more are asked for at once, and the command sleeps for five seconds."""
    twinlens = Switched()
    await twinlens.fill(10)
    switch = await twinlens.begin()
    sent = len(twinlens.outbox.to(twinlens.topics.contents))
    assert await twinlens.bring_over(switch, rate=2) == (10, 0)
    assert len(twinlens.outbox.to(twinlens.topics.contents)) - sent == 10 < PAGE
    assert twinlens.slept == pytest.approx(5, abs=1.5)


async def test_hints_are_sent_again_and_given_up_on() -> None:
    """Where no worker does anything, what is missing stays missing, and the round ends."""
    twinlens = Switched()
    await twinlens.fill(1)
    switch = await twinlens.begin()
    twinlens.asleep = True
    sent = len(twinlens.outbox.to(twinlens.topics.contents))
    assert await twinlens.bring_over(switch) == (0, 1)
    assert len(twinlens.outbox.to(twinlens.topics.contents)) - sent > 5


async def test_one_switch_at_a_time() -> None:
    """The same switch is gone on with, another is refused, and so is a change to the model in use."""
    twinlens = Switched()
    await twinlens.fill(1)
    with pytest.raises(RequestRefused, match="an id of its own"):
        await twinlens.begin(OLD)
    with pytest.raises(ConfigurationError, match="was made by"):
        await twinlens.steps.begin(OTHER, "other", NEW, "new", "twinlens")
    switch = await twinlens.begin()
    assert await twinlens.begin() == switch
    with pytest.raises(RequestRefused, match="under way"):
        await twinlens.begin(OTHER)
    with pytest.raises(RequestRefused, match="nothing to finish"):
        await twinlens.steps.finish(NEW)
    await twinlens.steps.swap()
    with pytest.raises(RequestRefused, match=r"first set model\.spec"):
        await twinlens.steps.finish(OLD)


async def test_a_planned_collection_is_made_use_of_or_dropped() -> None:
    """A command that was killed before it began leaves nothing behind once the next one has begun."""
    twinlens = Switched()
    await twinlens.fill(1)
    switch = await twinlens.begin()
    assert switch.new is not None
    twinlens.rows.switch_row = replace(switch, state=SwitchState.IDLE, old=None, version=0)
    assert (await twinlens.begin()).new == switch.new
    twinlens.rows.switch_row = replace(switch, state=SwitchState.IDLE, old=None, version=0)
    other = (await twinlens.begin(OTHER)).new
    assert other is not None
    assert twinlens.vectors.collections() == {(await twinlens.vectors.live()).name, other.collection}


async def test_models_are_compared_by_searches() -> None:
    """Two models that turn all vectors alike have the same first hits; one that has others changes them."""
    twinlens = Switched()
    await twinlens.fill(20)
    switch = await twinlens.begin()
    await twinlens.bring_over(switch)
    assert switch.new is not None

    async def changed(searches: int) -> tuple[int, int]:
        stores = twinlens.rows, twinlens.vectors
        found = await compare_models(switch, (99.9, 99.9), *stores, twinlens.retry, [BUCKET], searches)
        return found.searches, found.changed

    assert await changed(10) == (10, 0)
    new = twinlens.vectors.of(switch.new.collection)
    for entry in new.present().values():
        await new.upsert([entry._replace(vector=entry.vector * np.array([1, 0.1, 1, 3], np.float32))])
    searches, others = await changed(20)
    assert searches == 20
    assert others > 0


@pytest.mark.parametrize(
    ("threshold", "told"), [(69.0, Verdict.COPY), (71.0, Verdict.SIMILAR), (None, Verdict.SIMILAR)]
)
async def test_a_score_is_judged_by_the_model_that_gave_it(threshold: float | None, told: Verdict) -> None:
    """A neighbour is published with the verdict of its score's model, though another's threshold holds by now."""
    twinlens = Switched()
    await twinlens.fill(2)
    row, other = await twinlens.contents()
    content = replace(row, nearest=(Neighbour(other.sha256, 70.0, threshold),))
    [image] = [image for image in twinlens.rows.image_rows.values() if image.sha256 == row.sha256]
    nearby = {other.id: [Reference("0" * 32, BUCKET, "other")]}
    sent = snapshot(image, content, nearby, twinlens.clock, 80.0)
    assert [near.verdict for near in sent.nearest] == [told]
