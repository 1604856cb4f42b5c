"""Searches by brute force, their hits verified by local features, and what that is worth in figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.corpus import Search
from imaging.comparing import open_after_quick
from imaging.local_match import LocalMatch

type Compare = Callable[[Search, int], LocalMatch | None]
"""What a search's query and a reference, by its number, have in common."""

DEPTH = 10
"""Hits that are kept of each search."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hit: its score (0 to 100), that of its whole if there are views of it, and the match that verification found,
    if it was looked at.
    """

    reference: int
    score: float
    whole: float | None = None
    match: LocalMatch | None = None
    verified: bool = False

    @property
    def score_of_whole(self) -> float:
        """By which a hit that is not verified is a copy or not, whatever is nearest."""
        return self.score if self.whole is None else self.whole

    @property
    def is_copy(self) -> bool:
        """Whether verification says so."""
        return self.match is not None and self.match.is_copy


@dataclass(frozen=True, slots=True)
class Outcome:
    """A search and its best hits."""

    search: Search
    hits: tuple[Candidate, ...]

    def rank_of_own(self) -> int | None:
        """From 1 on; None where the picture that was to be found isn't among the hits."""
        own = [place for place, hit in enumerate(self.hits, 1) if hit.reference == self.search.own]
        return own[0] if own else None


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the searches of one kind. `copy` of searches with an own picture: that it is called a copy."""

    searches: int
    recall_at_1: float
    recall_at_10: float
    copy: float
    other_copies: float
    """Other pictures that are called copies, per search."""


@dataclass(frozen=True, slots=True)
class Precision:
    """As DISC21 has it: over all pairs of a query and a hit together, the surest first."""

    micro_ap: float
    recall_at_p90: float
    curve: tuple[tuple[float, float], ...]
    """Recall and precision, at most 200 points."""


def nearest(query: NDArray[np.float32], references: NDArray[np.float32], search: Search) -> Outcome:
    """The best hits of a query of one or more views [q, d] among references of one or more [r, v, d]: a reference's
    score is that of the two views that are nearest to each other.
    """
    count, views, dimension = references.shape
    products = query @ references.reshape(-1, dimension).T
    of_views = products.reshape(-1, count, views).max(axis=0)
    scores = of_views.max(axis=1)
    scores[list(search.hidden)] = -1
    best = np.argsort(-scores, kind="stable")[:DEPTH]
    of_wholes = of_views[:, 0]
    hits = tuple(Candidate(int(each), _percent(scores[each]), _percent(of_wholes[each])) for each in best)
    return Outcome(search, hits)


def _percent(cosine: float) -> float:
    return 100 * max(0.0, float(cosine))


def verified(outcome: Outcome, quick: Compare, close: Compare, count: int, floor: float) -> Outcome:
    """The first `count` hits compared with the query, quickly, and closely those that this leaves open, from the score
    `floor` on; those that are copies come first, otherwise the order stays.
    """
    hits, search = outcome.hits[:count], outcome.search
    matches = [quick(search, hit.reference) for hit in hits]
    for place in open_after_quick(matches):
        if hits[place].score >= floor:
            matches[place] = close(search, hits[place].reference)
    looked = [replace(hit, match=match, verified=True) for hit, match in zip(hits, matches, strict=True)]
    return Outcome(search, (*sorted(looked, key=lambda hit: not hit.is_copy), *outcome.hits[count:]))


def shares(outcomes: Sequence[Outcome], is_copy: Callable[[Candidate], bool]) -> Shares:
    """What became of these searches."""
    ranks = [outcome.rank_of_own() for outcome in outcomes]
    own = [hit for outcome in outcomes for hit in outcome.hits if hit.reference == outcome.search.own]
    others = [hit for outcome in outcomes for hit in outcome.hits if hit.reference != outcome.search.own]
    count = len(outcomes)
    return Shares(
        searches=count,
        recall_at_1=sum(rank == 1 for rank in ranks) / count,
        recall_at_10=sum(rank is not None for rank in ranks) / count,
        copy=sum(map(is_copy, own)) / count,
        other_copies=sum(map(is_copy, others)) / count,
    )


def threshold(outcomes: Sequence[Outcome], false_alarms: float = 0.01) -> int:
    """The lowest whole score that another picture reaches in at most this share of the searches."""
    best = [
        max((hit.score for hit in outcome.hits if hit.reference != outcome.search.own), default=0.0)
        for outcome in outcomes
    ]
    return int(np.ceil(np.quantile(best, 1 - false_alarms)))


def precision(outcomes: Iterable[Outcome], confidence: Callable[[Candidate], float]) -> Precision:
    """Every search with an own picture has one right hit; those that aren't there have none."""
    pairs: list[tuple[float, bool]] = []
    to_find = 0
    for outcome in outcomes:
        to_find += outcome.search.own is not None
        pairs += [(confidence(hit), hit.reference == outcome.search.own) for hit in outcome.hits]
    pairs.sort(key=lambda pair: (-pair[0], pair[1]))
    right = np.cumsum([own for _, own in pairs])
    precisions, recalls = right / np.arange(1, len(pairs) + 1), right / max(1, to_find)
    average = float(sum(precisions[place] for place, (_, own) in enumerate(pairs) if own) / max(1, to_find))
    good = recalls[precisions >= 0.9]
    step = max(1, len(pairs) // 200)
    curve = tuple((float(r), float(p)) for r, p in zip(recalls[::step], precisions[::step], strict=True))
    return Precision(average, float(good.max()) if len(good) else 0.0, curve)
