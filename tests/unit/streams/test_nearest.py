"""Neighbours on the change stream: local features say which are copies, and hold nobody up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import pytest_asyncio

from imaging.comparing import Comparable, comparable
from imaging.histogram import HistogramEmbedder
from imaging.limits import DecodeLimits
from schemas.messages import ContentChanged, ImageChanged
from schemas.settings import IndexSettings, LimitSettings
from stores.vectors.memory import MemoryVectors
from streams.assembly import for_index, for_objects, nearest
from streams.common.deliveries import Delivery
from streams.index.batches import Index
from streams.index.inference import InferenceThreads
from streams.ingest.converge_objects import converge_objects
from tests.harness.catalogs import sql_catalog
from tests.harness.counting import counting
from tests.harness.installation import BUCKET, content_of, ref
from tests.harness.kinds import ALIKE, in_a_phone_screenshot, jpeg, png, scene
from tests.harness.stepping import Stepped


class Worker:
    """An index worker with real inference over an installation in memory."""

    def __init__(self, installation: Stepped, inference: InferenceThreads, **settings: Any) -> None:
        self.twinlens = installation
        ports = installation.ports
        asked = IndexSettings(nearest=9, **settings)
        self._index = Index(
            for_index(ports),
            installation.retry,
            installation.aside("index"),
            asked,
            inference,
            verify=nearest(ports, inference, asked).verified,
        )

    async def put(self, pictures: Mapping[str, bytes]) -> None:
        """Put objects and let the ingest worker see them."""
        hints = [self.twinlens.put(key, data) for key, data in pictures.items()]
        await converge_objects(hints, for_objects(self.twinlens.ports))

    async def index(self, pictures: Mapping[str, bytes]) -> dict[str, ImageChanged]:
        """Index them as one batch; the last snapshot of each."""
        messages = [ContentChanged(bucket=BUCKET, sha256=content_of(data).sha256) for data in pictures.values()]
        topic = self.twinlens.topics.contents
        await self._index.handle([Delivery(topic, 0, 0, None, each.encode(), {}) for each in messages])
        sent = self.twinlens.outbox.to(self.twinlens.topics.image_changes)
        changes = [ImageChanged.decode(message.value) for message in sent if message.value is not None]
        return {change.key: change for change in changes}

    async def drop(self, pictures: Mapping[str, bytes]) -> dict[str, ImageChanged]:
        """Put and index objects in one batch."""
        await self.put(pictures)
        return await self.index(pictures)


@pytest_asyncio.fixture
async def worker(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Worker]:
    """A worker with nothing indexed yet."""
    embedder = HistogramEmbedder()
    inference = InferenceThreads(embedder, LimitSettings(), decode_threads=2)
    copyfile(sqlite_template, tmp_path / "catalog.db")
    async with sql_catalog(f"sqlite+aiosqlite:///{tmp_path / 'catalog.db'}") as catalog:
        installation = Stepped(catalog)
        vectors = MemoryVectors(model_name=embedder.model_name, dimension=embedder.dimension)
        installation.ports = replace(installation.ports, vectors=vectors)
        yield Worker(installation, inference)
    inference.close()


def _said(change: ImageChanged) -> list[tuple[str, str, bool | None]]:
    return [(near.key, str(near.verdict), near.verified) for near in change.nearest]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALIKE)
async def test_what_only_looks_alike_is_not_announced_as_a_copy(worker: Worker, kind: str) -> None:
    """Pages of text, chats and codes are near each other and none is a copy, also those that nobody looked at."""
    known = {f"{number}.png": png(ALIKE[kind](number)) for number in range(6)}
    await worker.drop(known)
    changes = await worker.drop({"new.png": png(ALIKE[kind](100))})
    said = _said(changes["new.png"])
    assert [(verdict, verified) for _, verdict, verified in said] == [("similar", False)] * 3 + [("similar", None)] * 3


async def test_a_copy_is_announced_as_verified(worker: Worker) -> None:
    """A recompressed copy of a known picture is a verified one."""
    await worker.drop({"old.png": png(scene(1)), "other.png": png(scene(2))})
    changes = await worker.drop({"new.jpg": jpeg(scene(1))})
    assert _said(changes["new.jpg"])[0] == ("old.png", "copy", True)


async def test_copies_of_one_batch_are_verified_too(worker: Worker) -> None:
    """Two copies that are dropped at once find and verify each other."""
    changes = await worker.drop({"a.png": png(scene(1)), "b.jpg": jpeg(scene(1))})
    assert _said(changes["a.png"]) == [("b.jpg", "copy", True)]
    assert _said(changes["b.jpg"]) == [("a.png", "copy", True)]


async def test_a_neighbour_that_is_gone_holds_nobody_up(worker: Worker) -> None:
    """A pair of which one object can't be read is announced by its score, unverified, and the others are verified."""
    await worker.drop({"gone.png": png(scene(1)), "kept.png": png(scene(3))})
    worker = Worker(worker.twinlens, InferenceThreads(HistogramEmbedder(), LimitSettings(), decode_threads=1))
    worker.twinlens.objects.delete_now(ref("gone.png"))
    changes = await worker.drop({"new.jpg": jpeg(scene(1)), "another.jpg": jpeg(scene(3))})
    assert _said(changes["new.jpg"])[0] == ("gone.png", "copy", None)
    assert _said(changes["another.jpg"])[0] == ("kept.png", "copy", True)


async def test_a_bug_in_comparing_hides_no_picture(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be compared is indexed and announced by its score; what is beside it in the batch is verified."""
    await worker.drop({"old.png": png(scene(1)), "other.png": png(scene(3))})
    compare = InferenceThreads.is_copy

    async def fails_for_some(self: InferenceThreads, one: Comparable, other: Comparable) -> bool:
        if one.colours.tobytes() == comparable(jpeg(scene(1)), DecodeLimits()).colours.tobytes():
            raise ValueError("a bug")
        return await compare(self, one, other)

    monkeypatch.setattr(InferenceThreads, "is_copy", fails_for_some)
    changes = await worker.drop({"new.jpg": jpeg(scene(1)), "another.jpg": jpeg(scene(3))})
    assert _said(changes["new.jpg"])[0] == ("old.png", "copy", None)
    assert _said(changes["another.jpg"])[0] == ("other.png", "copy", True)


async def test_unrelated_pictures_are_not_looked_at(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is far from all others is read once, as ever."""
    reads: list[str] = []
    reading = worker.twinlens.objects.read

    async def counted(wanted: Any, sink: Any, *, max_bytes: int) -> Any:
        reads.append(wanted.key)
        return await reading(wanted, sink, max_bytes=max_bytes)

    pictures = {f"{number}.png": png(scene(number)) for number in range(4)}
    await worker.put(pictures)
    monkeypatch.setattr(worker.twinlens.objects, "read", counted)
    await worker.index(pictures)
    assert sorted(reads) == sorted(pictures)


async def test_a_batch_of_pairs_keeps_to_its_statements(worker: Worker) -> None:
    """At most 20 statements, BEGIN and COMMIT among them, also where every content has neighbours to look at."""
    known = {f"{number}.png": png(scene(number)) for number in range(6)}
    await worker.drop(known)
    copies = {f"{number}.jpg": jpeg(scene(number)) for number in range(6)}
    await worker.put(copies)
    with counting(worker.twinlens.ports.catalog) as sent:  # type: ignore[arg-type]
        changes = await worker.index(copies)
    assert {_said(changes[key])[0][2] for key in copies} == {True}
    assert sent.statements <= 20


async def test_a_picture_in_a_screenshot_is_found_where_the_score_says_so(worker: Worker) -> None:
    """A picture that fills most of a screen is a verified copy of the picture."""
    await worker.drop({"original.png": png(scene(1))})
    screen = in_a_phone_screenshot(scene(1)).crop((0, 200, 540, 700))
    changes = await worker.drop({"screen.png": png(screen)})
    assert _said(changes["screen.png"])[0] == ("original.png", "copy", True)
