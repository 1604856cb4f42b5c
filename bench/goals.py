"""What the figures have to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bench.decoding import FORMATS
from bench.figures import Figure

CHEAP_MS, CHEAP_SHARE = 14.0, 0.5
DEAR_MS, DEAR_SHARE = 30.0, 0.7
"""Decode + embed that take so many milliseconds of CPU, and the share of their rate that the pipeline has to reach."""


class Bound(StrEnum):
    """On which side of its limit a figure has to be."""

    AT_MOST = "≤"
    AT_LEAST = "≥"


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit in the figure's own unit."""

    bound: Bound
    limit: float

    def met(self, value: float) -> bool:
        """Whether the value is within the limit; NaN never is."""
        return value <= self.limit if self.bound is Bound.AT_MOST else value >= self.limit


_WITH_A_MODEL: Mapping[str, Goal] = {
    "pipeline.workers_beyond_ceiling": Goal(Bound.AT_MOST, 6),
    "queries.upload_1_of_parts": Goal(Bound.AT_MOST, 1.25),
    "queries.upload_64_of_ceiling": Goal(Bound.AT_LEAST, 0.7),
    "queries.status_pages_p99": Goal(Bound.AT_MOST, 1.5),
    "queries.hostile_p99": Goal(Bound.AT_MOST, 2.0),
    "queries.verified_1_median": Goal(Bound.AT_MOST, 100),
    "queries.verified_1_of_upload": Goal(Bound.AT_MOST, 2.5),
}
_ALWAYS: Mapping[str, Goal] = {
    **{f"decoding.{kind.lower()}_of_pillow": Goal(Bound.AT_MOST, 1.1) for kind in FORMATS},
    "pipeline.servers": Goal(Bound.AT_MOST, 8),
    "pipeline.backlog_idle": Goal(Bound.AT_MOST, 0.08),
    "duplicates.backlog": Goal(Bound.AT_LEAST, 300),
    "announcements.backlog": Goal(Bound.AT_LEAST, 1500),
    "deletes.backlog": Goal(Bound.AT_LEAST, 300),
    "freshness.median": Goal(Bound.AT_MOST, 0.4),
    "freshness.p99": Goal(Bound.AT_MOST, 0.8),
    "queries.id_best": Goal(Bound.AT_LEAST, 250),
}
_NULL_MODEL_RATE = Goal(Bound.AT_LEAST, 100)
_NULL_MODEL_MS = 1.0


def share_wanted(ceiling_ms: float) -> float:
    """The share of the decode + embed rate that the pipeline has to reach: between the two stated points, a line."""
    position = (ceiling_ms - CHEAP_MS) / (DEAR_MS - CHEAP_MS)
    return CHEAP_SHARE + (DEAR_SHARE - CHEAP_SHARE) * min(1.0, max(0.0, position))


def goals(figures: Mapping[str, Figure], null_model_ms: float | None) -> dict[str, Goal]:
    """The goals of a run by figure, also of figures that were not measured.

    With a null model there is no embedding to compare with, but a rate that the rest has to reach.
    """
    if null_model_ms is not None:
        rate = {"pipeline.backlog": _NULL_MODEL_RATE} if null_model_ms <= _NULL_MODEL_MS else {}
        return {**rate, **_ALWAYS}
    ceiling = figures.get("pipeline.ceiling_cpu")
    share = share_wanted(ceiling.value) if ceiling is not None else CHEAP_SHARE
    return {"pipeline.backlog_of_ceiling": Goal(Bound.AT_LEAST, share), **_WITH_A_MODEL, **_ALWAYS}
