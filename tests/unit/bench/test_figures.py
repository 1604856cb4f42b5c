"""Figures, goals and the verdicts on them."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError

import pytest
from rich.console import Console

from bench import report
from bench.__main__ import _names
from bench.backlog import rate
from bench.figures import Figure, Result, by_name, quantile
from bench.goals import Bound, Goal, goals, share_wanted
from bench.measurements import MEASUREMENTS


def test_a_quantile_is_one_of_the_values() -> None:
    """The 99th percentile of fifty is the largest, and the median of three is the one in the middle."""
    assert quantile([float(number) for number in range(50)], 0.99) == 49
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2
    assert math.isnan(quantile([], 0.5))


def test_a_rate_counts_from_the_first_look_with_progress() -> None:
    """Neither the wait before the first piece nor that after the last one makes a backlog look slower."""
    assert rate([(0.0, 0), (5.0, 10), (6.0, 60), (7.0, 110), (9.0, 110)]) == 50


def test_a_backlog_that_one_look_saw_done_has_no_rate() -> None:
    """What nobody saw in between can't be timed, and is no infinite speed."""
    assert math.isnan(rate([(0.0, 0), (1.0, 100)]))


def test_details_are_not_taken_for_figures() -> None:
    """A detail may have any name, also a figure's."""
    result = Result("pipeline", [Figure("backlog", 20, "pictures/s"), Figure("backlog", 1, "ms", of="PUT")])
    assert by_name([result]) == {"pipeline.backlog": Figure("backlog", 20, "pictures/s")}


@pytest.mark.parametrize(("bound", "met"), [(Bound.AT_MOST, [1.0, 2.0]), (Bound.AT_LEAST, [2.0, 3.0])])
def test_a_goal_includes_its_limit(bound: Bound, met: list[float]) -> None:
    """A value on the limit is within it, and one that couldn't be measured never is."""
    assert [value for value in (1.0, 2.0, 3.0, math.nan) if Goal(bound, 2.0).met(value)] == met


def test_the_share_wanted_rises_with_what_inference_costs() -> None:
    """It is 0.5 at 14 ms and 0.7 at 30 ms, on a line between them and flat outside."""
    assert [share_wanted(cpu_ms) for cpu_ms in (5, 14, 22, 30, 90)] == pytest.approx([0.5, 0.5, 0.6, 0.7, 0.7])


def test_the_goal_of_the_pipeline_follows_its_own_ceiling() -> None:
    """A run on a slow machine is held to the share that belongs to it."""
    found = goals({"pipeline.ceiling_cpu": Figure("ceiling_cpu", 22, "ms a picture")}, None)
    assert found["pipeline.backlog_of_ceiling"].limit == pytest.approx(0.6)


def test_a_null_model_has_a_rate_to_reach_and_no_ceiling() -> None:
    """With a millisecond in place of inference the rest is held to a rate; with more, to none."""
    assert goals({}, 1.0)["pipeline.backlog"] == Goal(Bound.AT_LEAST, 100)
    assert "pipeline.backlog" not in goals({}, 5.0)
    assert "pipeline.backlog_of_ceiling" not in goals({}, 1.0)


@pytest.mark.parametrize("null_model_ms", [None, 1.0])
def test_goals_belong_to_measurements_that_exist(null_model_ms: float | None) -> None:
    """A goal whose measurement was renamed would never be missed."""
    assert {name.partition(".")[0] for name in goals({}, null_model_ms)} <= set(MEASUREMENTS)


def test_the_json_holds_goals_and_no_numbers_that_json_does_not_know() -> None:
    """A figure is stated with its share of the ceiling and its verdict, and one without a value as null."""
    result = Result(
        "pipeline", [Figure("backlog", 25, "pictures/s", 100), Figure("idle", math.nan, "")], {"done": [1.0]}
    )
    wanted = {"pipeline.backlog": Goal(Bound.AT_LEAST, 50)}
    [described] = json.loads(json.dumps(report.as_json([result], wanted), allow_nan=False))
    backlog, idle = described["figures"]
    assert (backlog["of_ceiling"], backlog["goal"], backlog["verdict"]) == (0.25, "≥ 50", "missed")
    assert idle["value"] is None
    assert described["series"] == {"done": [1.0]}


def test_the_tables_name_figures_details_and_goals_that_were_not_measured() -> None:
    """Somebody who reads only the terminal learns what was met, what it took, and what is missing."""
    figures = [Figure("median", 0.25, "s"), Figure("cpu kafka", 1.234, "ms", of="PUT")]
    wanted = {"freshness.median": Goal(Bound.AT_MOST, 0.4), "deletes.backlog": Goal(Bound.AT_LEAST, 300)}
    console = Console(width=120, record=True)
    with console.capture() as captured:
        report.show(console, [Result("freshness", figures)], wanted)
    text = captured.get()
    assert "≤ 0.40 │ met" in text
    assert "cpu kafka, ms" in text
    assert "1.23" in text
    assert "did not measure: deletes.backlog" in text


@pytest.mark.parametrize(("value", "text"), [(0.123, "0.12"), (14.26, "14.3"), (1234.5, "1,234"), (math.nan, "–")])
def test_numbers_are_written_with_the_digits_that_tell_something(value: float, text: str) -> None:
    """Nobody needs hundredths of a thousand."""
    assert report.number(value) == text


def test_chosen_measurements_keep_their_order() -> None:
    """Deletes come after what needs the pictures, however somebody names them."""
    assert _names("deletes,pipeline") == ["pipeline", "deletes"]


def test_a_measurement_that_does_not_exist_is_refused_with_those_that_do() -> None:
    """A slip of the pen is told before servers start."""
    with pytest.raises(ArgumentTypeError, match=r"there is no duplicate; there are pipeline, .*duplicates"):
        _names("duplicate")
