"""What a measurement gives: named figures, each with its unit and, where there is one, its ceiling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``ceiling``: what the parts alone reached in the same minutes, in the same unit.

    ``of``: what it is a detail of, such as one picture or one kind of search; empty for a figure of its own.
    """

    name: str
    value: float
    unit: str
    ceiling: float | None = None
    of: str = ""

    @property
    def of_ceiling(self) -> float | None:
        """The value as a share of its ceiling."""
        return self.value / self.ceiling if self.ceiling else None


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement's figures, and the series (lists of numbers by name) that plots are drawn from."""

    measurement: str
    figures: Sequence[Figure]
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)


def by_name(results: Iterable[Result]) -> dict[str, Figure]:
    """A run's figures by ``<measurement>.<figure>``, without the details."""
    return {
        f"{result.measurement}.{figure.name}": figure
        for result in results
        for figure in result.figures
        if not figure.of
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
