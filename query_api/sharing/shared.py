"""What many look at: read once an interval for all of them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from typing import Final

from cachetools import TTLCache

from query_api.sharing.gathering import Gathering

FRESH_S: Final = 1.0
"""How old an answer may be. The status page asks every three seconds."""
_KEPT: Final = 32
_AT_ONCE: Final = 10_000


class Shared[K: Hashable, V]:
    """Answers that are good for ``fresh_s`` seconds, the last _KEPT of them; whoever asks meanwhile waits for the same.

    An error is told to all who wait and not kept. A look that nobody waits for any more is cancelled.
    """

    def __init__(
        self,
        look: Callable[[K], Awaitable[V]],
        *,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._known: TTLCache[K, V] = TTLCache(_KEPT, fresh_s, timer=clock)
        self._asking: Gathering[K, None, V] = Gathering(self._answer, most=_AT_ONCE)

    async def get(self, key: K) -> V:
        """The answer for this key."""
        return await self._asking.ask(key, None)

    async def _answer(self, key: K, askers: Sequence[None]) -> Sequence[V]:
        # An answer may grow old between two questions to the cache, `in` and `[]`, so there is one.
        with suppress(KeyError):
            return [self._known[key]] * len(askers)
        answer = self._known[key] = await self._look(key)
        return [answer] * len(askers)
