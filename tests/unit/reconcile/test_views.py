"""Views of contents through the real handlers: stored, missed, made anew, removed with their content, and bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from imaging.decoding import DecodedImage, Pixels, decode
from imaging.histogram import HistogramEmbedder
from imaging.limits import DecodeLimits
from imaging.views import decode_content
from schemas.collection import VIEWS, ViewLayout, view_collections
from schemas.settings import IndexSettings
from stores.vectors.ports import Vector
from stores.vectors.views import VectorsWithViews
from streams.assembly import for_audit, for_forget
from streams.index.inference import InferenceThreads
from streams.repair.audit import Audit
from streams.repair.drift import DriftKind
from streams.repair.forget import forget
from tests.harness.installation import BUCKET, content_of
from tests.harness.pictures import picture
from tests.unit.reconcile.installation import Reconciled

EMBEDDER = HistogramEmbedder()


class Viewed(Reconciled):
    """An installation whose views are turned on and off as `twinlens setup` does."""

    async def turn(self, layout: ViewLayout) -> None:
        """Have these views, and workers that have noticed."""
        views = VectorsWithViews(self.vectors, layout)
        await views.ensure_collection(model_name=EMBEDDER.model_name, dimension=EMBEDDER.dimension)
        self.ports = replace(self.ports, vectors=views)

    async def add(self, *pictures: bytes) -> None:
        """Put pictures, and have them indexed."""
        for number, data in enumerate(pictures, len(self.objects.present(BUCKET))):
            self.put(f"{number}.png", data)
        await self.reconcile()
        await self.work()

    async def view_ids(self, layout: ViewLayout) -> list[set[int]]:
        """What each collection of views holds."""
        live = (await self.vectors.live()).name
        return [set(self.vectors.of(name).present()) for name in view_collections(live, layout)]

    async def is_complete(self, layout: ViewLayout) -> bool:
        """Whether wholes and views are those of the indexed contents, and each is what its picture gives."""
        wholes = self.vectors.present()
        live = (await self.vectors.live()).name
        for data in set(self.objects.present(BUCKET).values()):
            vector_id = self.catalog.content_rows[content_of(data)].vector_id
            image = decode_content(data, DecodeLimits(), EMBEDDER.pixel_spec, layout)
            expected = EMBEDDER.embed([image.pixels, *image.views])
            names = [live, *view_collections(live, layout)]
            stored = [self.vectors.of(name).present().get(vector_id) for name in names]
            if not all(
                each is not None and np.allclose(each.vector, vector, atol=1e-5)
                for each, vector in zip(stored, expected, strict=True)
            ):
                return False
        return self.agrees() and all(ids == set(wholes) for ids in await self.view_ids(layout))


@pytest.fixture
def viewed() -> Viewed:
    """With no views yet."""
    return Viewed()


async def test_without_views_nothing_is_asked_for_or_made(viewed: Viewed) -> None:
    """One collection, one vector a content, and decoding gives the whole alone."""
    await viewed.turn("none")
    await viewed.add(*map(picture, range(3)))
    assert len(viewed.vectors.collections()) == 1
    assert decode_content(picture(0), DecodeLimits(), EMBEDDER.pixel_spec, "none").views == ()
    assert viewed.agrees()


@pytest.mark.parametrize("layout", ["quarters", "ninths"])
async def test_views_are_stored_beside_the_whole_and_go_with_it(viewed: Viewed, layout: ViewLayout) -> None:
    """Each is the vector of its part of the picture; the whole is what it is without views; a delete takes all."""
    await viewed.turn(layout)
    await viewed.add(*map(picture, range(5)))
    assert await viewed.is_complete(layout)
    whole = decode(picture(1), DecodeLimits(), EMBEDDER.pixel_spec).pixels
    seen = decode_content(picture(1), DecodeLimits(), EMBEDDER.pixel_spec, layout)
    assert np.array_equal(seen.pixels, whole)
    assert len(seen.views) == VIEWS[layout]
    for key in ("0.png", "3.png"):
        viewed.delete(key)
    await viewed.reconcile()
    await viewed.work()
    assert len(viewed.vectors.present()) == 3
    assert await viewed.is_complete(layout)


async def test_views_that_were_turned_on_later_are_made_by_reconcile(viewed: Viewed) -> None:
    """What was indexed before is missed and made anew, also by the audit; what was indexed since is left alone."""
    await viewed.turn("none")
    await viewed.add(*map(picture, range(4)))
    await viewed.turn("quarters")
    await viewed.add(picture(4))
    assert (await viewed.reconcile()).drift[DriftKind.MISSING_VECTOR] == 0
    assert await viewed.is_complete("quarters")


async def test_the_audit_makes_views_that_were_turned_on_later(viewed: Viewed) -> None:
    """Without anybody's asking, a page after the other."""
    await viewed.turn("none")
    await viewed.add(*map(picture, range(4)))
    await viewed.turn("quarters")
    audit = Audit(for_audit(viewed.ports), viewed.retry, viewed.settings, lambda: True, page=3)
    for _ in range(3):
        await audit.audit_page()
    await viewed.work()
    assert await viewed.is_complete("quarters")


async def test_views_that_were_turned_off_are_gone(viewed: Viewed) -> None:
    """Their collections go, the contents stay as they are, and the workers go on."""
    await viewed.turn("quarters")
    await viewed.add(*map(picture, range(3)))
    before = set(viewed.vectors.present())
    on = viewed.ports
    await viewed.turn("none")
    viewed.ports = on
    await viewed.add(picture(3))
    assert before < set(viewed.vectors.present())
    assert len(viewed.vectors.collections()) == 1
    assert viewed.agrees()


async def test_reconcile_finds_lost_views_and_views_that_nobody_has(viewed: Viewed) -> None:
    """A lost view has its content made anew, under another id; a stray one is deleted."""
    await viewed.turn("quarters")
    await viewed.add(*map(picture, range(4)))
    live = (await viewed.vectors.live()).name
    [first, *_, last] = [viewed.vectors.of(name) for name in view_collections(live, "quarters")]
    lost = next(iter(viewed.vectors.present()))
    last.lose(lost)
    [stray] = list(last.present().values())[:1]
    await first.upsert([stray._replace(vector_id=77)])
    report = await viewed.reconcile()
    assert (report.drift[DriftKind.MISSING_VECTOR], report.drift[DriftKind.ORPHAN_VECTOR]) == (1, 1)
    await viewed.work()
    assert lost not in viewed.vectors.present()
    assert await viewed.is_complete("quarters")
    assert (await viewed.reconcile()).differences == 0


async def test_a_forgotten_bucket_leaves_no_view(viewed: Viewed) -> None:
    """Nor one that no content carries."""
    await viewed.turn("quarters")
    await viewed.add(*map(picture, range(3)))
    live = (await viewed.vectors.live()).name
    view = viewed.vectors.of(view_collections(live, "quarters")[2])
    [stray] = list(view.present().values())[:1]
    await view.upsert([stray._replace(vector_id=77)])
    async for _ in forget(BUCKET, for_forget(viewed.ports), viewed.retry):
        pass
    assert not viewed.vectors.present()
    assert not any(await viewed.view_ids("quarters"))


class Watched(InferenceThreads):
    """Counts the pictures that are decoded and not embedded yet."""

    held = 0
    most = 0

    async def decode(self, data: bytes, layout: ViewLayout) -> DecodedImage:
        """See InferenceThreads."""
        image = await super().decode(data, layout)
        self.held += 1 + len(image.views)
        self.most = max(self.most, self.held)
        return image

    async def embed(self, pictures: Sequence[Pixels]) -> list[Vector]:
        """See InferenceThreads."""
        vectors = await super().embed(pictures)
        self.held -= len(pictures)
        return vectors


async def test_no_more_pixels_are_held_than_without_views(viewed: Viewed) -> None:
    """A batch is decoded and embedded a few contents at a time, so that the index worker keeps to its memory."""
    viewed.settings = viewed.settings.model_copy(update={"index": IndexSettings(batch_size=20)})
    await viewed.turn("ninths")
    for number in range(20):
        viewed.put(f"{number}.png", picture(number))
    await viewed.reconcile()
    watched = Watched(EMBEDDER, viewed.settings.limits, decode_threads=2)
    try:
        viewed.inference = watched
        await super(Reconciled, viewed).work()
    finally:
        watched.close()
    assert watched.most == 20
    assert watched.held == 0
    assert await viewed.is_complete("ninths")
