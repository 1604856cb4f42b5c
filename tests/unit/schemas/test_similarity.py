"""The similarity scale."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.similarity import Verdict, clamp_cosine, distance, score, verdict


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
