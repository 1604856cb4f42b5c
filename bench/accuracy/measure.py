"""Every search of a corpus by every method, unverified and verified, from what is computed once and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

import bench.accuracy.methods
import imaging.comparing
import imaging.local_features
from bench.accuracy.cache import Cache
from bench.accuracy.corpus import ABSENT, Corpus
from bench.accuracy.methods import CORPUS, Method, Seen, looked_at
from bench.accuracy.searching import (
    Candidate,
    Compare,
    Outcome,
    Precision,
    Shares,
    nearest,
    precision,
    shares,
    threshold,
    verified,
)
from bench.accuracy.transforms import HARD, TRANSFORMS
from imaging.comparing import Comparable
from imaging.local_features import CLOSE, QUICK, Closeness

WHICH: Mapping[str, frozenset[str]] = {
    "whole": frozenset({"whole"}),
    "framed": frozenset({"whole", "framed"}),
    "parts": frozenset({"whole", "framed", "part", "tile"}),
}
"""The names of views that are searched for."""
VERIFIED = 5
"""Hits of a search that are compared with the query, as the page does."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one way of searching is worth.

    `copies` is the mean over all transforms but the hard two, which have a mean of their own; `false_copies` are per
    100 searches of pictures that aren't there.
    """

    method: str
    verified: bool
    views: str
    """Of the query: whole, framed (also without its frame), or parts (also these)."""
    kinds: Mapping[str, Shares]
    recall_at_1: float
    copies: float
    hard_copies: float
    false_copies: float
    threshold: int
    """The lowest whole score that another picture reaches in at most 1 % of the searches."""
    precision: Precision


@dataclass(slots=True)
class Laboratory:
    """A corpus, and what was computed of it."""

    corpus: Corpus
    cache: Cache

    @classmethod
    def of(cls, corpus: Corpus, cache: Cache) -> Laboratory:
        """With nothing looked at yet."""
        return cls(corpus, cache)

    def outcomes(self, method: Method, queries: Sequence[Seen], views: str) -> list[Outcome]:
        """The best hits of all searches, by these views."""
        references = self._references(method)
        return [
            nearest(seen.of(WHICH[views]), references, search)
            for search, seen in zip(self.corpus.searches(), queries, strict=True)
        ]

    def _references(self, method: Method) -> NDArray[np.float32]:
        """The vectors of all references, of as many views each [r, v, d]."""
        seen = self.cache.all(
            f"{method.name}-references",
            range(self.corpus.references),
            lambda number: method.describe_content(self.corpus.reference(number)),
            (*method.made_by, *CORPUS[1:]),
        )
        return np.stack(seen)

    def queries(self, method: Method, *, parts: bool) -> list[Seen]:
        """The vectors of all queries."""
        return self.cache.all(
            f"{method.network}-{'parts' if parts else 'whole'}",
            self.corpus.searches(),
            lambda search: method.describe(self.corpus.query(search), parts),
            (*method.made_by, *CORPUS),
        )

    def verify(self, outcomes: Sequence[Outcome], floor: float, count: int = VERIFIED) -> list[Outcome]:
        """The same searches with their first hits compared: quickly, and closely from this score on."""
        quick, close = (self._comparing(outcomes, count, look) for look in (QUICK, CLOSE))
        return [verified(outcome, quick, close, count, floor) for outcome in outcomes]

    def _comparing(self, outcomes: Sequence[Outcome], count: int, look: Closeness) -> Compare:
        """What compares a query with a reference, of which such a look was taken."""
        made_by = (imaging.comparing, imaging.local_features, bench.accuracy.methods, *CORPUS, look)
        searches = self.corpus.searches()
        queries = self.cache.all(
            f"features-{look.side}", searches, lambda search: looked_at(self.corpus.query(search), look), made_by
        )
        by_search = dict(zip(searches, queries, strict=True))
        wanted = sorted({hit.reference for outcome in outcomes for hit in outcome.hits[:count]})
        # In blocks of numbers that don't depend on what was found, so that other searches find them in the cache.
        needed = sorted({number // 10 for number in wanted})
        blocks = self.cache.all(
            f"reference-features-{look.side}", needed, lambda block: self._ten_features(block, look), made_by
        )
        of_reference = {
            10 * block + place: each
            for block, ten in zip(needed, blocks, strict=True)
            for place, each in enumerate(ten)
        }
        return lambda search, reference: imaging.comparing.verified(by_search[search], of_reference[reference])

    def _ten_features(self, block: int, look: Closeness) -> list[Comparable]:
        numbers = range(10 * block, min(10 * block + 10, self.corpus.references))
        return [looked_at(self.corpus.reference(number), look) for number in numbers]


def figures(method: Method, outcomes: Sequence[Outcome], *, is_verified: bool, views: str) -> Figures:
    """What these outcomes are worth."""

    def is_copy(hit: Candidate) -> bool:
        return hit.is_copy if is_verified else hit.score_of_whole >= method.copy_threshold

    def confidence(hit: Candidate) -> float:
        return hit.score + (100 if is_verified and hit.is_copy else 0)

    by_kind = {kind: list(found) for kind, found in groupby(outcomes, key=lambda outcome: outcome.search.kind)}
    kinds = {kind: shares(found, is_copy) for kind, found in by_kind.items()}
    usual = [kinds[name] for name in TRANSFORMS if name in kinds and name not in HARD]
    hard = [kinds[name] for name in HARD if name in kinds]
    photographs = [each for each in outcomes if each.search.kind in TRANSFORMS or each.search.kind == ABSENT]
    return Figures(
        method=method.name,
        verified=is_verified,
        views=views,
        kinds=kinds,
        recall_at_1=_mean([each.recall_at_1 for each in usual]),
        copies=_mean([each.copy for each in usual]),
        hard_copies=_mean([each.copy for each in hard]),
        false_copies=100 * kinds[ABSENT].other_copies if ABSENT in kinds else 0.0,
        threshold=threshold(photographs),
        precision=precision(photographs, confidence),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def all_figures(
    laboratory: Laboratory, method: Method, report: Callable[[Figures, Sequence[Outcome]], None], *, parts: bool
) -> None:
    """Unverified and verified, of the whole query and of its views."""
    queries = laboratory.queries(method, parts=parts)
    seen = {name for query in queries for name in query.names}
    for views in WHICH:
        if views != "whole" and not seen & (WHICH[views] - {"whole"}):
            continue  # A hash is of the whole alone.
        if views == "parts" and not parts:
            continue
        found = laboratory.outcomes(method, queries, views)
        report(figures(method, found, is_verified=False, views=views), found)
        compared = laboratory.verify(found, method.floor)
        report(figures(method, compared, is_verified=True, views=views), compared)
