"""A run's figures as tables and as JSON."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Result, by_name
from bench.goals import Goal

_WIDTH = 140


def terminal() -> Console:
    """Where tables go: as wide as the terminal, or wide enough for all figures where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)


def show(console: Console, results: Sequence[Result], goals: Mapping[str, Goal]) -> None:
    """Print the figures with their ceilings and goals, and below them the details, side by side."""
    console.print(_figures(results, goals))
    backlogs = [result for result in results if result.measurement != "queries"]
    console.print(*details("What a piece took", _all_details(backlogs)))
    queries = _all_details(result for result in results if result.measurement == "queries")
    for kind in dict.fromkeys(figure.of.partition(",")[0] for figure in queries):
        console.print(*details(f"Queries: {kind}", [each for each in queries if each.of.startswith(f"{kind},")]))
    missing = sorted(set(goals) - set(by_name(results)))
    if missing:
        console.print(f"Goals that this run did not measure: {', '.join(missing)}")


def as_json(results: Sequence[Result], goals: Mapping[str, Goal]) -> list[dict[str, Any]]:
    """One object for each measurement, numbers rounded to six digits; null where there is none."""
    return [
        {
            "measurement": result.measurement,
            "figures": [_figure(figure, goals.get(f"{result.measurement}.{figure.name}")) for figure in result.figures],
            "series": {name: list(values) for name, values in result.series.items()},
        }
        for result in results
    ]


def verdict(figure: Figure, goal: Goal | None) -> str | None:
    """``met`` or ``missed``; None without a goal. A detail has none, even under a figure's name."""
    if goal is None or figure.of:
        return None
    return "met" if goal.met(figure.value) else "missed"


def number(value: float) -> str:
    """A number as people read it: three digits that tell something."""
    if not math.isfinite(value):
        return "–"
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{decimals}f}"


def _figures(results: Iterable[Result], goals: Mapping[str, Goal]) -> Table:
    table = Table("figure", title="Figures")
    for name in ("value", "ceiling", "share", "goal"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for result in results:
        for figure in (each for each in result.figures if not each.of):
            goal = goals.get(f"{result.measurement}.{figure.name}")
            of_ceiling = "" if figure.of_ceiling is None else number(figure.of_ceiling)
            table.add_row(
                f"{result.measurement}.{figure.name}",
                f"{number(figure.value)} {figure.unit}",
                "" if figure.ceiling is None else number(figure.ceiling),
                of_ceiling,
                "" if goal is None else f"{goal.bound} {number(goal.limit)}",
                {"met": "[green]met[/]", "missed": "[red]missed[/]", None: ""}[verdict(figure, goal)],
            )
        table.add_section()
    return table


def _all_details(results: Iterable[Result]) -> list[Figure]:
    return [figure for result in results for figure in result.figures if figure.of]


def details(title: str, figures: Sequence[Figure]) -> list[Table]:
    """A table with a row for each name and a column for each thing that the figures are details of; or none."""
    if not figures:
        return []
    columns = list(dict.fromkeys(figure.of for figure in figures))
    table = Table("", title=title)
    for column in columns:
        table.add_column(column, justify="right")
    for name in dict.fromkeys(figure.name for figure in figures):
        found = {figure.of: figure for figure in figures if figure.name == name}
        unit = next(iter(found.values())).unit
        cells = [number(found[column].value) if column in found else "" for column in columns]
        table.add_row(f"{name}, {unit}" if unit else name, *cells)
    return [table]


def _figure(figure: Figure, goal: Goal | None) -> dict[str, Any]:
    described = {name: _finite(value) for name, value in asdict(figure).items()}
    described["of_ceiling"] = _finite(figure.of_ceiling)
    if goal is not None and not figure.of:
        described |= {"goal": f"{goal.bound} {goal.limit:g}", "verdict": verdict(figure, goal)}
    return described


def _finite(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None
