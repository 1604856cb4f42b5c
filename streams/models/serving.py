"""Which models are served, as a process finds it when it starts: the collections to work on, and the specs.

While a switch of models is on, the catalog says it; else the settings do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from imaging.model_spec import ModelSpec, find_spec
from schemas.collection import is_same_model
from schemas.errors import ConfigurationError
from schemas.model_switch import ModelSwitch, ServedModel
from stores.catalog.ports import Catalog
from stores.vectors.ports import VectorIndex
from streams.common.backoff import OutageRetry
from streams.common.ports import ServedVectors

LOOK_EVERY_S = 2.0
"""So soon a worker notices that a switch of models began, or went on."""


@dataclass(frozen=True, slots=True)
class Serving:
    """The models that an index worker embeds by, and what contents are marked with that have their vectors."""

    spec: ModelSpec
    mark: str
    other_spec: ModelSpec | None = None
    other_mark: str | None = None


def served_vectors(vectors: VectorIndex, switch: ModelSwitch) -> ServedVectors:
    """The collections of the models that are served, of an index on what the alias names.

    Where no switch is on, what the alias names: it moves in no other state.
    """
    return ServedVectors(
        in_use=vectors.of(switch.in_use.collection) if switch.in_use else vectors,
        other=vectors.of(switch.other.collection) if switch.other else None,
        switch_version=switch.version,
    )


async def serving(catalog: Catalog, vectors: VectorIndex, configured: ModelSpec) -> tuple[Serving, ServedVectors]:
    """What an index worker embeds by, and the collections: each by its name, for the alias may move.

    Raises ConfigurationError where a collection was made by another model than this machine has: vectors of two models
    are never mixed. Raises ModelError where a model of the switch is not on this machine.
    """
    switch = await catalog.switch()
    if switch.in_use is None:
        live = await vectors.live()
        if not is_same_model(live.model_name, configured.name):
            raise ConfigurationError(
                f"the live collection was made by the model {live.model_name}, and the settings name {configured.name}"
            )
        served = served_vectors(vectors, switch)
        return Serving(configured, configured.name), replace(served, in_use=vectors.of(live.name))
    other = switch.other
    found = Serving(
        _spec(switch.in_use, configured),
        switch.in_use.mark,
        _spec(other, configured) if other else None,
        other.mark if other else None,
    )
    return found, served_vectors(vectors, switch)


def _spec(model: ServedModel, configured: ModelSpec) -> ModelSpec:
    return configured if configured.name == model.name else find_spec(model.name, model.spec)


async def watch_models(catalog: Catalog, version: int, retry: OutageRetry, changed: Callable[[], None]) -> None:
    """Notice that the switch of models has another version than this one, and call ``changed`` once."""
    while True:
        switch = await retry.run(catalog.switch)
        if switch.version != version:
            changed()
            return
        await asyncio.sleep(LOOK_EVERY_S)
