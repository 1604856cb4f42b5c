"""Whether everything that a search needs answers: one look a second, shared by all who ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from imaging.errors import ImagingError
from query_api.sharing.outage_log import OutageLog
from query_api.sharing.shared import Shared
from schemas.errors import Outage, TwinlensError

CHECK_TIMEOUT_S = 5.0
OK = "ok"

Check = Callable[[], Awaitable[object]]


class Readiness:
    """``checks`` by the name of what they ask."""

    def __init__(
        self, checks: Mapping[str, Check], outage_log: OutageLog, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks = dict(checks)
        self._outage_log = outage_log
        self._found = Shared(self._look, clock=clock)

    async def look(self) -> dict[str, str]:
        """What each check says, ``OK`` or what is wrong, at most ``shared.FRESH_S`` ago."""
        return await self._found.get(None)

    async def _look(self, _for_all: None) -> dict[str, str]:
        answers = await asyncio.gather(*[self._answer(*each) for each in self._checks.items()])
        return dict(zip(self._checks, answers, strict=True))

    async def _answer(self, name: str, check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await check()
        except TimeoutError:
            return "no answer in time"
        except Outage as error:
            self._outage_log.away(error.dependency, str(error))
            return "away"
        except (TwinlensError, ImagingError) as error:
            return str(error)
        self._outage_log.back(name)
        return OK
