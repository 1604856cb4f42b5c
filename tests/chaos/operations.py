"""What is done to the bucket and which faults there are, both fixed by a seed before anything runs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

SERVERS: Final = ("kafka", "objects", "database", "milvus")
WORKERS: Final = ("ingest", "requests", "index", "index-2")
COMPONENTS: Final = (*SERVERS, *WORKERS, "api")


class FaultKind(StrEnum):
    """What can be done to a component. The links are those between Twinlens and the servers."""

    KILL = "kill"
    """`kill -9`, and started again."""
    HANG = "hang"
    """Stopped: its connections stay, and nothing answers."""
    FULL_DISK = "full-disk"
    SLOW_LINK = "slow-link"
    """Every answer comes late."""
    CLOGGED_LINK = "clogged-link"
    """A kilobyte a second gets through."""
    DEAD_LINK = "dead-link"
    """Nothing gets through, and nobody is told; its connections end with the fault."""
    CLOCK_AHEAD = "clock-ahead"
    CLOCK_BEHIND = "clock-behind"
    """By an hour."""


LINK_FAULTS: Final = (FaultKind.SLOW_LINK, FaultKind.CLOGGED_LINK, FaultKind.DEAD_LINK)
CLOCK_FAULTS: Final = (FaultKind.CLOCK_AHEAD, FaultKind.CLOCK_BEHIND)
VICTIMS: Final = {
    FaultKind.KILL: COMPONENTS,
    FaultKind.HANG: (*SERVERS, *WORKERS),
    FaultKind.FULL_DISK: SERVERS,
    **dict.fromkeys(LINK_FAULTS, SERVERS),
    **dict.fromkeys(CLOCK_FAULTS, WORKERS),
}
"""Which components can have a fault."""
LONGEST_S: Final = {
    FaultKind.KILL: 6.0,
    FaultKind.HANG: 40.0,
    FaultKind.FULL_DISK: 20.0,
    **dict.fromkeys(LINK_FAULTS, 30.0),
    **dict.fromkeys(CLOCK_FAULTS, 30.0),
}
"""Seconds that a fault lasts; a server's own start comes on top."""
BROKEN_EVERY: Final = 40
"""One picture number in so many stands for bytes that are no picture."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One change of one object; ``picture`` is None for a delete."""

    kind: str
    key: str
    picture: int | None


class Harm(NamedTuple):
    """A fault of one component."""

    kind: FaultKind
    component: str

    def __str__(self) -> str:
        """As the report names it."""
        return f"{self.kind} {self.component}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong together once so many operations were begun, and for how long."""

    after: int
    harms: tuple[Harm, ...]
    seconds: float


@dataclass(slots=True)
class Plan:
    """A whole run."""

    seed: int
    operations: list[Operation]
    faults: list[Fault]
    unannounced: list[Operation]
    """Done while the bucket's notification rule is away."""
    last: dict[str, int] = field(default_factory=dict)
    """Picture by key after ``operations``."""

    @property
    def has_link_faults(self) -> bool:
        """Whether the links between Twinlens and the servers must be ones that can be harmed."""
        return any(harm.kind in LINK_FAULTS for harm in self.harms)

    @property
    def harms(self) -> Counter[Harm]:
        """How often each component has each fault."""
        return Counter(harm for fault in self.faults for harm in fault.harms)


def plan(
    seed: int,
    *,
    operations: int,
    keys: int,
    faults: int,
    unannounced: int,
    kinds: Collection[FaultKind] = (FaultKind.KILL,),
    spared: Collection[str] = (),
    longest_s: float = max(LONGEST_S.values()),
) -> Plan:
    """The same seed and sizes always give the same plan. No fault of the ``spared`` components, or longer than that."""
    chance = random.Random(seed)
    names = [_name(number, chance) for number in range(keys)]
    state: dict[str, int] = {}
    ever: set[str] = set()
    changes = [_operation(names, state, ever, chance, new_share=0.35) for _ in range(operations)]
    possible = [Harm(kind, victim) for kind in FaultKind if kind in kinds for victim in VICTIMS[kind]]
    possible = [harm for harm in possible if harm.component not in spared]
    made = Plan(seed, changes, list(_faults(operations, faults, possible, longest_s, chance)), [], dict(state))
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


def _faults(
    operations: int, faults: int, possible: Sequence[Harm], longest_s: float, chance: random.Random
) -> Iterator[Fault]:
    """Spread over the operations; everything that is possible has its turn before anything has its second."""
    waiting: list[Harm] = []
    for number in range(faults):
        if not waiting:
            waiting = chance.sample(possible, len(possible))
        together = [waiting.pop()]
        if waiting and waiting[-1].component != together[0].component and chance.random() < 0.2:
            together.append(waiting.pop())
        after = int((number + 0.5) * operations / faults)
        longest = min(longest_s, *(LONGEST_S[harm.kind] for harm in together))
        yield Fault(after, tuple(together), round(chance.uniform(longest / 4, longest), 1))
