"""What is done to the bucket and what is killed, both fixed by a seed before anything runs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

COMPONENTS: Final = ("kafka", "minio", "database", "milvus", "ingest", "requests", "index", "index-2", "api")
LONGEST_DOWN: Final = 6.0
"""Seconds that a killed server stays away before it is started; its own start comes on top."""
BROKEN_EVERY: Final = 40
"""One picture number in so many stands for bytes that are no picture."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One change of one object; ``picture`` is None for a delete."""

    kind: str
    key: str
    picture: int | None


@dataclass(frozen=True, slots=True)
class Kill:
    """Components that are killed together once so many operations were begun, and for how long."""

    after: int
    components: tuple[str, ...]
    seconds: float


@dataclass(slots=True)
class Plan:
    """A whole run."""

    seed: int
    operations: list[Operation]
    kills: list[Kill]
    unannounced: list[Operation]
    """Done while the bucket's notification rule is away."""
    last: dict[str, int] = field(default_factory=dict)
    """Picture by key after ``operations``."""

    @property
    def kills_by_component(self) -> Counter[str]:
        """How often each component is killed."""
        return Counter(component for kill in self.kills for component in kill.components)


def plan(seed: int, *, operations: int, keys: int, kills: int, unannounced: int) -> Plan:
    """The same seed and sizes always give the same plan."""
    chance = random.Random(seed)
    names = [_name(number, chance) for number in range(keys)]
    state: dict[str, int] = {}
    ever: set[str] = set()
    changes = [_operation(names, state, ever, chance, new_share=0.35) for _ in range(operations)]
    made = Plan(seed, changes, list(_kills(operations, kills, chance)), [], dict(state))
    # Few deletes among the unannounced ones: more than a tenth of the catalog would need --force.
    made.unannounced = [
        _operation(names, state, ever, chance, new_share=0.2, delete_share=0.06) for _ in range(unannounced)
    ]
    return made


def _name(number: int, chance: random.Random) -> str:
    folder = chance.choice(("", "a/", "a/b c/", "ü/", "x+y/", "100%/"))
    return f"{folder}{number:04}{chance.choice(('.png', '.PNG', ' copy.png', ''))}"


def _operation(
    names: Sequence[str],
    state: dict[str, int],
    ever: set[str],
    chance: random.Random,
    *,
    new_share: float,
    delete_share: float = 0.22,
) -> Operation:
    """A random change of the state, noted in it."""
    key = chance.choice(names)
    if key in state and chance.random() < delete_share:
        del state[key]
        return Operation("delete", key, None)
    if state and chance.random() > new_share:
        # Bytes that another key has, or had: duplicates, and contents that die and are born again.
        picture = chance.choice(list(state.values())) if chance.random() < 0.6 else chance.randrange(len(names))
        kind = "duplicate"
    else:
        picture, kind = chance.randrange(100_000), "put"
    if key in state:
        kind = "overwrite"
    elif key in ever:
        kind = "re-put"
    state[key] = picture
    ever.add(key)
    return Operation(kind, key, picture)


def _kills(operations: int, kills: int, chance: random.Random) -> Iterator[Kill]:
    """Spread over the operations; every component has its turn before one has its second."""
    waiting: list[str] = []
    for number in range(kills):
        if not waiting:
            waiting = chance.sample(COMPONENTS, len(COMPONENTS))
        together = [waiting.pop()]
        if waiting and chance.random() < 0.2:
            together.append(waiting.pop())
        after = int((number + 0.5) * operations / kills)
        yield Kill(after, tuple(together), round(chance.uniform(0.0, LONGEST_DOWN), 1))
