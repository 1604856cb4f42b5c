"""The similarity scale."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.similarity import Verdict, clamp_cosine, distance, judged, score, standing_out, verdict


@pytest.mark.parametrize(
    ("cosine", "dist", "points"),
    [(1.0, 0.0, 100.0), (0.5, 1.0, 50.0), (0.0, 2.0, 0.0), (-1.0, 4.0, 0.0), (1.0000002, 0.0, 100.0), (-1.1, 4.0, 0.0)],
)
def test_the_scale(cosine: float, dist: float, points: float) -> None:
    """Distance is the squared Euclidean one of unit vectors, the score a percentage; rounding is clamped."""
    assert distance(cosine) == pytest.approx(dist)
    assert score(cosine) == pytest.approx(points)


@given(st.floats(-1.1, 1.1))
def test_the_predecessors_formula_holds_where_it_was_positive(cosine: float) -> None:
    """(2 − distance) / 2 · 100, and never below zero."""
    assert score(cosine) == pytest.approx(max(0.0, (2 - distance(cosine)) / 2 * 100))
    assert 0 <= score(cosine) <= 100
    assert -1 <= clamp_cosine(cosine) <= 1


def test_verdicts() -> None:
    """The same bytes are exact whatever the score; the threshold itself is a copy."""
    assert verdict(0.0, same_bytes=True, copy_threshold=75.0) is Verdict.EXACT
    assert verdict(75.0, same_bytes=False, copy_threshold=75.0) is Verdict.COPY
    assert verdict(74.9, same_bytes=False, copy_threshold=75.0) is Verdict.SIMILAR


@pytest.mark.parametrize(
    ("scores", "count"),
    [
        ([57.0, 14.0, 13.0], 1),
        ([57.0, 55.0, 14.0], 2),
        ([57.0, 41.0, 25.0], 0),
        ([39.0, 5.0], 0),
        ([57.0], 0),
        ([], 0),
        ([90.0, 88.0, 60.0, 40.0, 12.0], 4),
        ([50.0] * 11 + [10.0], 0),
    ],
)
def test_what_stands_out_is_followed_by_a_gap(scores: list[float], count: int) -> None:
    """A crop that scores 57 with the next at 14 stands out; what comes after the last score is not known."""
    assert standing_out(scores) == count


def _said(scores: list[float], are_copies: list[bool | None], *, verifying: bool) -> list[str]:
    said = judged(scores, are_copies, 69.0, verifying=verifying)
    return ["likely" if each.likely else str(each.verdict) for each in said]


def test_without_a_look_the_score_decides() -> None:
    """As ever; what stands out below the threshold is a likely copy."""
    assert _said([80, 57, 14], [None] * 3, verifying=False) == ["copy", "likely", "similar"]


def test_local_features_overrule_the_score() -> None:
    """Whatever it is; and below one that was found to be none, the score is no evidence."""
    assert _said([82, 81, 80, 20], [False, True, None, True], verifying=False) == ["similar", "copy", "similar", "copy"]
    assert _said([82, 81], [True, None], verifying=False) == ["copy", "copy"]


def test_while_verifying_a_copy_is_a_verified_one() -> None:
    """What could not be looked at is a likely copy at best."""
    assert _said([82, 81, 20], [True, None, None], verifying=True) == ["copy", "likely", "similar"]
    assert _said([57, 14], [None, None], verifying=True) == ["likely", "similar"]
    assert _said([57, 14], [False, None], verifying=True) == ["similar", "similar"]


def test_a_view_makes_no_copy_by_its_score() -> None:
    """Where the whole is below the threshold, a hit is a likely copy at best; local features decide as ever."""
    scores, wholes = [90.0, 80.0, 75.0], [30.0, 72.0, -100.0]
    said = judged(scores, [None] * 3, 69.0, verifying=False, of_wholes=wholes)
    assert [(str(each.verdict), each.likely) for each in said] == [
        ("similar", True),
        ("copy", False),
        ("similar", True),
    ]
    said = judged(scores, [True, None, False], 69.0, verifying=True, of_wholes=wholes)
    assert [str(each.verdict) for each in said] == ["copy", "similar", "similar"]
