"""The query service follows the live collection: no query of one model is answered from the collection of another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imaging.embedding import Embedder
from imaging.errors import ModelError
from imaging.model_spec import ModelSpec, OnnxFile, load_spec
from query_api.search import live_model
from query_api.search.live_model import LiveModel
from schemas.model_switch import ModelSwitch, ServedModel, begin, new_model, plan
from schemas.settings import ModelSettings
from stores.catalog.memory import MemoryCatalog
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import VectorEntry
from tests.harness.catalogs import NOW
from tests.harness.waiting import until

pytestmark = pytest.mark.asyncio

DISTILLED = load_spec("sscd_distilled")
SETTINGS = ModelSettings(spec="sscd_distilled")
NEW_COLLECTION = "twinlens_own_1"


class Service:
    """A query service's model on an index in memory, and the switch of models that is on."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "own.yaml"
        self.vectors = MemoryVectors(model_name=DISTILLED.name, dimension=DISTILLED.dimension)
        self.catalog = MemoryCatalog()
        self.model = LiveModel(self.vectors, SETTINGS, self.catalog.switch)

    def write_spec(self) -> ModelSpec:
        """A spec of the same network under another id, in a file."""
        spec = DISTILLED.model_copy(update={"id": "own", "onnx": OnnxFile(path=DISTILLED.onnx_path())})
        self.place.write_text(spec.model_dump_json(exclude_none=True), encoding="utf-8")
        return load_spec(self.place)

    async def swap(self, spec: ModelSpec) -> None:
        """Make another collection, and have the alias name it."""
        live = await self.vectors.live()
        old = ServedModel(DISTILLED.name, "sscd_distilled", live.name, DISTILLED.name)
        new = new_model(spec.name, str(self.place), "twinlens_own", "1")
        self.catalog.switch_row = begin(plan(self.catalog.switch_row, new, NOW), old, new, NOW)
        await self.vectors.create(NEW_COLLECTION, model_name=spec.name, dimension=spec.dimension)
        await self.vectors.make_live(NEW_COLLECTION)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service that looks at the alias for each query."""
    monkeypatch.setattr(live_model, "CHECK_EVERY_S", 0.0)
    return Service(tmp_path)


async def _model_id(service: Service) -> str:
    return (await service.model.current()).embedder.model_id


def _is(wanted: str) -> Callable[[str], bool]:
    return lambda found: found == wanted


async def test_follows_a_moved_alias_without_a_gap(service: Service) -> None:
    """While the new model is loaded, the one before answers, each from its own collection."""
    before = await service.model.current()
    await service.vectors.upsert([VectorEntry(1, "b", np.eye(1, DISTILLED.dimension, dtype=np.float32)[0])])
    await service.swap(service.write_spec())
    assert await service.model.current() is before
    assert await before.vectors.count() == 1
    await until(lambda: _model_id(service), _is("own"))
    after = await service.model.current()
    assert (await after.vectors.count(), await before.vectors.count()) == (0, 1)


async def test_a_model_that_is_missing_on_a_machine_harms_nobody_while_the_old_collection_is_there(
    service: Service,
) -> None:
    """It goes on with the model before, and says which file it needs once that model's collection is dropped."""
    before = await service.model.current()
    old = (await service.vectors.live()).name
    spec = service.write_spec()
    await service.swap(spec)
    service.place.unlink()
    for _ in range(3):
        assert await service.model.current() is before
    await service.vectors.drop(old)
    with pytest.raises(ModelError, match=r"is needed here, too.*own\.yaml"):
        await service.model.current()
    service.write_spec()
    assert await _model_id(service) == "own"


async def test_another_file_at_the_same_place_is_not_taken(service: Service) -> None:
    """A spec that makes other vectors than the collection's is refused, though its id is the same."""
    spec = service.write_spec()
    changed = spec.model_copy(update={"pixels": spec.pixels.model_copy(update={"reducing_gap": 8.0})})
    await service.model.current()
    old = (await service.vectors.live()).name
    await service.swap(spec)
    service.place.write_text(changed.model_dump_json(exclude_none=True), encoding="utf-8")
    await service.vectors.drop(old)
    with pytest.raises(ModelError, match="is another one on this machine"):
        await service.model.current()


async def test_who_gives_up_waiting_does_not_end_the_loading(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of readiness waits for some seconds; on a busy machine a model may take longer to load."""
    load, begun, go_on = service.model._embedder, threading.Event(), threading.Event()

    def slowly(name: str, switch: ModelSwitch) -> tuple[Embedder, ModelSpec]:
        begun.set()
        go_on.wait(30)
        return load(name, switch)

    monkeypatch.setattr(service.model, "_embedder", slowly)
    impatient = asyncio.create_task(service.model.current())
    await asyncio.to_thread(begun.wait, 30)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    go_on.set()
    assert await _model_id(service) == "sscd_distilled"
