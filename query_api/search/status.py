"""How far the catalog is, for people who look at the status; what does not answer is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from imaging.errors import ImagingError
from query_api.search.live_model import ModelSource
from query_api.sharing.outage_log import OutageLog
from query_api.sharing.overviews import Minutes, Overviews
from schemas.errors import ConfigurationError, Outage
from stores.catalog.reading.ports import Statistics


class Standing(NamedTuple):
    """Counts of one moment; ``vectors`` and ``model`` are None while the vector index does not answer.

    ``oldest_pending_s`` is the age of the object that has waited longest, in seconds.
    """

    counts: Statistics
    oldest_pending_s: float | None
    vectors: int | None
    model: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """What the status tells. A ``bucket`` of None means all. Each method raises CatalogOutage."""

    overviews: Overviews
    models: ModelSource
    outages: OutageLog
    now: Callable[[], datetime]

    async def standing(self, bucket: str | None) -> Standing:
        """How much there is and how far it is."""
        counts = await self.overviews.statistics.get(bucket)
        age = self.now() - counts.oldest_pending if counts.oldest_pending else None
        age_s = max(0.0, round(age.total_seconds(), 3)) if age is not None else None
        return Standing(counts, age_s, await self._vectors(bucket), await self._model())

    async def _vectors(self, bucket: str | None) -> int | None:
        try:
            return await self.overviews.vectors.get(bucket)
        except Outage as error:
            self.outages.away(error.dependency, str(error))
            return None

    async def _model(self) -> str | None:
        try:
            return (await self.models.current()).embedder.model_id
        except Outage as error:
            self.outages.away(error.dependency, str(error))
        except (ConfigurationError, ImagingError):
            pass
        return None

    async def indexed_per_minute(self, minutes: int, bucket: str | None) -> Sequence[tuple[datetime, int]]:
        """The last minutes, oldest first, and how many contents were indexed in each; the last one is still running."""
        last = self.now().replace(second=0, microsecond=0)
        first = last - timedelta(minutes=minutes - 1)
        counts = await self.overviews.minutes.get(Minutes(first, bucket))
        moments = [first + timedelta(minutes=index) for index in range(minutes)]
        return [(moment, counts.get(moment, 0)) for moment in moments]
