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
from streams.common.backoff import OutageRetry
from streams.common.ports import Ports

LOOK_EVERY_S = 2.0
"""So soon a worker notices that a switch of models began, or went on."""


@dataclass(frozen=True, slots=True)
class Serving:
    """The models that an index worker embeds by, and what contents are marked with that have their vectors."""

    spec: ModelSpec
    mark: str
    other_spec: ModelSpec | None = None
    other_mark: str | None = None


def on_served_collections(ports: Ports, switch: ModelSwitch) -> Ports:
    """The ports on the collections of the models that are served.

    Where no switch is on, on what the alias names: it moves in no other state.
    """
    return replace(
        ports,
        vectors=ports.vectors.of(switch.in_use.collection) if switch.in_use else ports.vectors,
        other_vectors=ports.vectors.of(switch.other.collection) if switch.other else None,
        switch_version=switch.version,
    )


async def served_ports(ports: Ports, retry: OutageRetry) -> Ports:
    """Likewise, by the catalog as it is now. Raises Outage."""
    return on_served_collections(ports, await retry.run(ports.catalog.switch))


async def serving(ports: Ports, configured: ModelSpec) -> tuple[Serving, Ports]:
    """What an index worker embeds by, and its ports: every collection by its name, for the alias may move.

    Raises ConfigurationError where a collection was made by another model than this machine has: vectors of two models
    are never mixed. Raises ModelError where a model of the switch is not on this machine.
    """
    switch = await ports.catalog.switch()
    served = on_served_collections(ports, switch)
    if switch.in_use is None:
        live = await ports.vectors.live()
        if not is_same_model(live.model_name, configured.name):
            raise ConfigurationError(
                f"the live collection was made by the model {live.model_name}, and the settings name {configured.name}"
            )
        found = Serving(configured, configured.name)
        served = replace(served, vectors=ports.vectors.of(live.name))
    else:
        other = switch.other
        found = Serving(
            _spec(switch.in_use, configured),
            switch.in_use.mark,
            _spec(other, configured) if other else None,
            other.mark if other else None,
        )
    return found, replace(served, copy_threshold=found.spec.copy_threshold)


def _spec(model: ServedModel, configured: ModelSpec) -> ModelSpec:
    return configured if configured.name == model.name else find_spec(model.name, model.spec)


async def watch_models(ports: Ports, retry: OutageRetry, changed: Callable[[], None]) -> None:
    """Notice that other models are served than those of these ports, and call ``changed`` once."""
    while True:
        switch = await retry.run(ports.catalog.switch)
        if switch.version != ports.switch_version:
            changed()
            return
        await asyncio.sleep(LOOK_EVERY_S)
