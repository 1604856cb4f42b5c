"""A switch of models: its state and its transitions, pure functions over the one row that says which models are served.

A *served* model has a collection of its own, and everything that is indexed or deleted goes to the collection of each
model that is served. One of them is *in use*: its collection is searched, its scores and verdicts are told::

    IDLE ──begin──► BUILDING ──swap──► SWAPPED ──finish──► FINISHING ──conclude──► IDLE, the new model in use
                       │                  │
                       │                roll_back
                       │                  ▼
                       │              RETURNING
                       │                  │
                       └─────abandon──► ABANDONED ──conclude──► IDLE, the old model in use

| state | in use | the other, which is fed too | the alias |
|---|---|---|---|
| IDLE | what the settings name | none | stays where it is |
| BUILDING | old | new | names the old collection |
| SWAPPED | new | old | is moved to the new collection |
| RETURNING | old | new | is moved back to the old collection |
| FINISHING | new | none: the old collection is being dropped | names the new collection |
| ABANDONED | old | none: the new collection is being dropped | names the old collection |

The version rises with each transition that changes what workers have to do. A transaction of a worker that relies on
which models are served commits only under the version that the worker was started by, and holds that with a shared
lock: so whatever is committed after a transition was done by its rules. It never falls, so that a worker that slept
through a whole switch finds out, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from schemas.collection import model_mark
from schemas.errors import RequestRefused


class SwitchState(StrEnum):
    """How far a switch has come."""

    IDLE = "idle"
    BUILDING = "building"
    SWAPPED = "swapped"
    RETURNING = "returning"
    FINISHING = "finishing"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of a switch: its name, where its spec was found, and its collection.

    ``mark`` is what contents are marked with whose vector is in that collection. The new model's is that of this one
    switch, so that nobody takes a vector for stored that was in a collection of former times.
    """

    name: str
    spec: str
    collection: str
    mark: str


@dataclass(frozen=True, slots=True)
class ModelSwitch:
    """The row of ``model_switch``; ``old`` and ``new`` are there unless it is IDLE, when ``new`` may be planned."""

    version: int = 0
    state: SwitchState = SwitchState.IDLE
    old: ServedModel | None = None
    new: ServedModel | None = None
    changed_at: datetime | None = None

    @property
    def in_use(self) -> ServedModel | None:
        """The model whose collection is searched; None where the settings say it."""
        return self.new if self.state in (SwitchState.SWAPPED, SwitchState.FINISHING) else self.old

    @property
    def other(self) -> ServedModel | None:
        """The model that is fed too, if one is."""
        match self.state:
            case SwitchState.BUILDING | SwitchState.RETURNING:
                return self.new
            case SwitchState.SWAPPED:
                return self.old
        return None

    @property
    def left(self) -> ServedModel | None:
        """The model whose collection is to be dropped, if one is."""
        match self.state:
            case SwitchState.FINISHING:
                return self.old
            case SwitchState.ABANDONED:
                return self.new
        return None


def new_model(name: str, spec: str, collection: str, tag: str) -> ServedModel:
    """The model to switch to; ``tag`` is new with each switch."""
    return ServedModel(name, spec, f"{collection}_{tag}", model_mark(name, tag))


def plan(switch: ModelSwitch, new: ServedModel, now: datetime) -> ModelSwitch:
    """The collection of this model is about to be made: whoever comes after a killed command finds it."""
    _expect(switch, "plan", SwitchState.IDLE)
    return replace(switch, new=new, changed_at=now)


def begin(switch: ModelSwitch, old: ServedModel, new: ServedModel, now: datetime) -> ModelSwitch:
    """New objects go to both collections from now on. Raises RequestRefused where another switch was planned since."""
    _expect(switch, "begin", SwitchState.IDLE)
    if switch.new != new:
        raise RequestRefused("another switch of models is about to begin")
    return _changed(replace(switch, old=old), SwitchState.BUILDING, now)


def swap(switch: ModelSwitch, now: datetime) -> ModelSwitch:
    """The new model is in use; both collections are complete, and stay so."""
    _expect(switch, "swap", SwitchState.BUILDING)
    return _changed(switch, SwitchState.SWAPPED, now)


def roll_back(switch: ModelSwitch, now: datetime) -> ModelSwitch:
    """The old model is in use again, at once: its collection was kept complete."""
    _expect(switch, "roll back", SwitchState.SWAPPED)
    return _changed(switch, SwitchState.RETURNING, now)


def abandon(switch: ModelSwitch, now: datetime) -> ModelSwitch:
    """Nobody searches the new collection: it is not fed any more, and to be dropped."""
    _expect(switch, "abandon", SwitchState.BUILDING, SwitchState.RETURNING)
    return _changed(switch, SwitchState.ABANDONED, now)


def finish(switch: ModelSwitch, now: datetime) -> ModelSwitch:
    """Nobody searches the old collection: it is not fed any more, and to be dropped. There is no way back from here."""
    _expect(switch, "finish", SwitchState.SWAPPED)
    return _changed(switch, SwitchState.FINISHING, now)


def conclude(switch: ModelSwitch, now: datetime) -> ModelSwitch:
    """The collection is dropped: nothing is left of the switch. What workers do stays the same, so the version does."""
    _expect(switch, "conclude", SwitchState.FINISHING, SwitchState.ABANDONED)
    return ModelSwitch(version=switch.version, changed_at=now)


def _expect(switch: ModelSwitch, what: str, *states: SwitchState) -> None:
    if switch.state not in states:
        raise RequestRefused(f"there is nothing to {what}: the switch of models is {switch.state}")


def _changed(switch: ModelSwitch, state: SwitchState, now: datetime) -> ModelSwitch:
    return replace(switch, state=state, version=switch.version + 1, changed_at=now)
