"""Vectors of two models are never mixed: who is asked to says so."""

from __future__ import annotations

import pytest

from imaging.model_spec import load_spec
from query_api.search.live_model import LiveModel
from schemas.errors import ConfigurationError
from schemas.settings import ModelSettings
from stores.catalog.memory import MemoryCatalog
from stores.vectors.memory import MemoryVectors
from streams.models.serving import serving

pytestmark = pytest.mark.asyncio

DISTILLED = load_spec("sscd_distilled")
OTHER_FILE = f"{DISTILLED.id}@0123456789ab"


async def test_the_query_service_refuses_a_collection_that_another_file_made() -> None:
    """The id is the same, the network is not: no query is embedded with it."""
    vectors = MemoryVectors(model_name=OTHER_FILE, dimension=DISTILLED.dimension)
    with pytest.raises(ConfigurationError, match="an id of its own"):
        await LiveModel(vectors, ModelSettings(), MemoryCatalog().switch).current()


@pytest.mark.parametrize("made_by", [DISTILLED.name, DISTILLED.id])
async def test_the_query_service_takes_the_model_of_the_collection(made_by: str) -> None:
    """By its name, or by its id where the collection is from before there were fingerprints."""
    vectors = MemoryVectors(model_name=made_by, dimension=DISTILLED.dimension)
    model = await LiveModel(vectors, ModelSettings(), MemoryCatalog().switch).current()
    assert model.embedder.model_name == DISTILLED.name


async def test_an_index_worker_refuses_a_collection_that_another_file_made() -> None:
    """It ends with the exit code of a configuration error, before it stores anything."""
    with pytest.raises(ConfigurationError, match=OTHER_FILE):
        await serving(MemoryCatalog(), _vectors(OTHER_FILE), DISTILLED)
    found, served = await serving(MemoryCatalog(), _vectors(DISTILLED.id), DISTILLED)
    assert (found.spec, found.mark, found.other_spec) == (DISTILLED, DISTILLED.name, None)
    assert (await served.in_use.live()).model_name == DISTILLED.id
    assert served.other is None


def _vectors(made_by: str) -> MemoryVectors:
    return MemoryVectors(model_name=made_by, dimension=DISTILLED.dimension)
