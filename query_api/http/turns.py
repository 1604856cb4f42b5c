"""One after the other, so that what comes in a burst takes no more of any moment than what comes alone."""

from __future__ import annotations

import asyncio


class Turns:
    """Lets those who wait go on one by one, in the order in which they came, each in another round of the event loop.

    Between two of them the loop looks at everything else that is ready. Who waits can be cancelled.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def take(self) -> None:
        """Wait for a round of the loop in which nobody else goes on from here."""
        async with self._turn:
            await asyncio.sleep(0)
