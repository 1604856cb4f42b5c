"""Joining two long ordered sequences page by page, in bounded memory and through outages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from schemas.errors import Outage


class Ordered(Protocol):
    """A position that can be compared with others of its kind."""

    def __lt__(self, other: Any, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class Joined[K, L, R]:
    """One page: everything up to ``position`` (None: to the end) has been given now."""

    position: K | None
    pairs: list[tuple[L, R]]
    left_only: list[L]
    right_only: list[R]


async def join[K: Ordered, L, R](
    left: Callable[[], Awaitable[Sequence[tuple[K, L]]]],
    right: Callable[[K, int], Awaitable[Sequence[tuple[K, R]]]],
    *,
    after: K,
    page: int,
) -> AsyncIterator[Joined[K, L, R]]:
    """Full outer join of two sequences in rising order of unique positions.

    ``left()`` gives the next page, empty at the end. ``right(after, limit)`` gives the first ``limit`` entries behind
    a position. At most one page of each is held.
    """
    ended = False
    while not ended:
        lefts = dict(await left())
        ended = not lefts
        bound = max(lefts) if lefts else None
        while True:
            rights = await right(after, page)
            upto = _nearer(bound, rights[-1][0] if len(rights) == page else None)
            yield _joined(lefts, rights, upto)
            if upto is None or upto == bound:
                break
            after = upto
        if bound is not None:
            after = bound


def _nearer[K: Ordered](one: K | None, other: K | None) -> K | None:
    """The lower of two bounds; None is no bound."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _joined[K: Ordered, L, R](lefts: dict[K, L], rights: Sequence[tuple[K, R]], upto: K | None) -> Joined[K, L, R]:
    """Take out of ``lefts`` what lies up to ``upto``, with what matches it."""

    def within(position: K) -> bool:
        return upto is None or not upto < position

    pairs: list[tuple[L, R]] = []
    right_only: list[R] = []
    for position, entry in rights:
        if not within(position):
            break
        if position in lefts:
            pairs.append((lefts.pop(position), entry))
        else:
            right_only.append(entry)
    left_only = [lefts.pop(position) for position in sorted(lefts) if within(position)]
    return Joined(upto, pairs, left_only, right_only)


class Reopened[K, T]:
    """An iterator over a store that is opened anew behind the last entry after an outage broke it."""

    def __init__(self, open_after: Callable[[K], AsyncIterator[T]], position: Callable[[T], K], *, after: K) -> None:
        self._open_after = open_after
        self._position = position
        self._after = after
        self._entries: AsyncIterator[T] | None = None
        self._taken: list[T] = []

    async def next(self) -> T | None:
        """The next entry, None at the end. Raises Outage; the same call may be made again then."""
        if self._entries is None:
            self._entries = aiter(self._open_after(self._after))
        try:
            entry = await anext(self._entries, None)
        except Outage:
            self._entries = None
            raise
        if entry is not None:
            self._after = self._position(entry)
        return entry

    async def take(self, count: int) -> list[T]:
        """The next ``count`` entries, fewer at the end. An outage in between keeps those for the next call."""
        while len(self._taken) < count and (entry := await self.next()) is not None:
            self._taken.append(entry)
        taken, self._taken = self._taken, []
        return taken

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what is open."""
        close = getattr(self._entries, "aclose", None)
        if close is not None:
            await close()
