"""All ids of a bucket in rising order, from a server that can't sort."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from schemas.collection import MAX_VECTOR_ID

FILL: Final = 0.75
"""The share of a page that the next range is meant to fill: one that turns out too full costs another query."""

QueryRange = Callable[[int, int, int], Awaitable[list[int]]]
"""``(above, up_to, limit)``: ids in ``above < id <= up_to``, all of them if these are fewer than ``limit``."""


async def rising_ids(query: QueryRange, *, after: int, page: int) -> AsyncIterator[Sequence[int]]:
    """Pages of at most ``page`` ids above ``after``, complete and rising.

    Milvus can't sort a query's answer: 2.3.5 returns the smallest ids first, Milvus Lite any. So this asks for
    ranges of ids and halves a range until the answer is known to be all of it. The ids of Twinlens are random,
    which makes the next range easy to guess; any other distribution only costs more queries.
    """
    above, up_to = after, MAX_VECTOR_ID
    while above < MAX_VECTOR_ID:
        found = sorted(await query(above, up_to, page + 1))
        if len(found) > page:
            # At least half of these lie in the lower part, so that it is not empty, and the range has shrunk.
            up_to = min(found[len(found) // 2], up_to - 1)
            continue
        if found:
            yield found
        growth = FILL * page / len(found) if found else max(page, 2)
        width = max(1, int((up_to - above) * growth))
        above = up_to
        up_to = min(MAX_VECTOR_ID, above + width)
