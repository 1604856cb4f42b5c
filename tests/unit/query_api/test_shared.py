"""What is read once an interval for all who want it, and kept for a while."""

from __future__ import annotations

import itertools

from query_api.sharing.shared import Shared


async def test_an_answer_may_grow_old_at_any_moment() -> None:
    """Also between two looks at the clock: whoever asks gets an answer, a new one then."""
    seconds = itertools.count()
    looks = itertools.count()

    async def look(_key: str) -> int:
        return next(looks)

    for fresh_s in range(1, 8):
        shared = Shared(look, fresh_s=fresh_s, clock=lambda: float(next(seconds)))
        answers = [await shared.get("page") for _ in range(5)]
        assert answers == sorted(answers)
