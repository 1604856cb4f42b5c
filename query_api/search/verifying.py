"""Verifying hits by local features.

Only the best few hits are, since each costs reading and decoding its object. They are looked at quickly first, and
closely where that leaves it open: where no copy was found, all that are nearer than chance would have it. What goes
wrong with one is said of that one: a search is answered whatever its objects are like.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from imaging.comparing import Comparable, open_after_quick
from imaging.errors import UndecodableImage
from imaging.local_features import CLOSE, QUICK, Closeness
from query_api.errors import Overloaded
from query_api.pictures.local_features import LocalFeaturesCache
from query_api.pictures.verification import Unverified, Verification, Verified, is_copy
from query_api.search.live_model import Model
from query_api.search.queries import Query
from query_api.search.search import Hit, Page, Ranker, SearchOptions, merged, paged
from query_api.sharing.overviews import Overviews
from schemas.collection import MAX_WINDOW
from schemas.errors import ObjectStoreOutage, ObjectTooLarge, ObjectUnreadable
from schemas.records import ImageRecord
from schemas.similarity import Verdict, judged
from stores.catalog.reading.ports import FoundContent

WORTH_A_LOOK: Final = 5.0
"""Hits below this score (0 to 100) are not looked at: to the model, they have nothing to do with the query."""

type Known = Comparable | Unverified
type Seen = asyncio.Future[Known]
type Place = tuple[int, int]
"""A hit: the index of its query, and the vector id of its content."""


@dataclass(frozen=True, slots=True)
class Verifying:
    """Verifies pictures, each pair within ``timeout_s``."""

    features: LocalFeaturesCache
    timeout_s: float

    def for_client(self, client: str) -> Verifier:
        """The verifier of one request; ``client`` pays for the bytes."""
        return Verifier(self.features, self.timeout_s, client)


class Verifier:
    """Verifies pictures for one request."""

    def __init__(self, features: LocalFeaturesCache, timeout_s: float, client: str) -> None:
        self._features = features
        self._timeout_s = timeout_s
        self._client = client

    @asynccontextmanager
    async def looking_at(self, queries: Mapping[int, Query], look: Closeness) -> AsyncIterator[Mapping[int, Seen]]:
        """A look at each of them, begun at once: while they are searched for, a core may have nothing to do."""
        seen = {index: asyncio.ensure_future(self._of_query(query, look)) for index, query in queries.items()}
        try:
            yield seen
        finally:
            for each in seen.values():
                each.cancel()

    async def hits(
        self, queries: Sequence[Query], quick: Mapping[int, Seen], hits: Sequence[Hit], floor: float
    ) -> Mapping[Place, Verification]:
        """What becomes of each of these hits; ``quick`` looks at the queries have begun. Hits whose score is below
        ``floor``, that of chance, get no close look.
        """
        ends_at = self._ends_at()
        found = await self._all(quick, hits, QUICK, ends_at)
        matches = [each.match if isinstance(each, Verified) else None for each in found.values()]
        left = [hits[place] for place in open_after_quick(matches)]
        left = [hit for hit in left if hit.score >= floor and _is_worth_a_close_look(found[_place(hit)])]
        if not left:
            return found
        async with self.looking_at({hit.query: queries[hit.query] for hit in left}, CLOSE) as close:
            return {**found, **await self._all(close, left, CLOSE, ends_at)}

    async def _all(
        self, seen: Mapping[int, Seen], hits: Sequence[Hit], look: Closeness, ends_at: float
    ) -> dict[Place, Verification]:
        """Side by side."""
        found = await asyncio.gather(
            *[
                self._compared(asyncio.shield(seen[hit.query]), self._of_image(hit.found.images[0], look), ends_at)
                for hit in hits
            ]
        )
        return {_place(hit): each for hit, each in zip(hits, found, strict=True)}

    async def pair(self, one: Query, other: Query) -> Verification:
        """What becomes of two pictures."""
        if one.sha256 is not None and one.sha256 == other.sha256:
            return Unverified.SAME_BYTES
        return await self._compared(self._of_query(one, CLOSE), self._of_query(other, CLOSE), self._ends_at())

    async def contents(self, one: FoundContent, other: FoundContent) -> bool | None:
        """Whether the oldest images of two contents are copies, as ``duplicates.Verify`` says."""
        first, second = (self._of_image(each.images[0], CLOSE) for each in (one, other))
        return is_copy(await self._compared(first, second, self._ends_at()))

    def _ends_at(self) -> float:
        """When what begins now has to be over, on the event loop's clock."""
        return asyncio.get_running_loop().time() + self._timeout_s

    async def _compared(self, query: Awaitable[Known], other: Awaitable[Known], ends_at: float) -> Verification:
        try:
            async with asyncio.timeout_at(ends_at):
                one, another = await asyncio.gather(query, other)
                if isinstance(one, Unverified):
                    return one
                if isinstance(another, Unverified):
                    return another
                return await self._features.compare(one, another)
        except TimeoutError:
            return Unverified.NO_TIME
        except Overloaded:
            return Unverified.BUSY

    async def _of_query(self, query: Query, look: Closeness) -> Known:
        if query.image is not None:
            return await self._of_image(query.image.image, look)
        if query.data is None or query.sha256 is None:
            return Unverified.NO_PICTURE
        try:
            return _known(await self._features.of_bytes(query.data, query.sha256, look))
        except UndecodableImage:
            return Unverified.UNREADABLE
        except Overloaded:
            return Unverified.BUSY

    async def _of_image(self, image: ImageRecord, look: Closeness) -> Known:
        try:
            found = await self._features.of_image(image, look, self._client)
        except ObjectTooLarge:
            return Unverified.GONE
        except (ObjectStoreOutage, ObjectUnreadable, UndecodableImage):
            return Unverified.UNREADABLE
        except Overloaded:
            return Unverified.BUSY
        return Unverified.GONE if found is None else _known(found)


def _known(picture: Comparable) -> Known:
    if picture.is_featureless:
        return Unverified.FEATURELESS
    return Unverified.FEW_FEATURES if picture.has_few_features else picture


def _is_worth_a_close_look(quick: Verification) -> bool:
    """Unless its object could not be read."""
    return isinstance(quick, Verified) or quick in {Unverified.FEATURELESS, Unverified.FEW_FEATURES}


def _place(hit: Hit) -> Place:
    return hit.query, hit.found.content.vector_id


class Found(NamedTuple):
    """What a search has found: the page of all queries together, and each query's own, where there are several.

    ``pending`` objects, of the bucket or of all, wait to be indexed: they can't be found yet.
    """

    queries: Sequence[Query]
    options: SearchOptions
    model: Model
    page: Page
    own: Sequence[Page | None]
    pending: int


@dataclass(frozen=True, slots=True)
class JudgedSearch:
    """Searching as clients see it: with a verdict on each hit. ``verify_best`` hits at most are verified."""

    ranker: Ranker
    verifying: Verifying
    verify_best: int
    overviews: Overviews

    async def found(self, queries: Sequence[Query], options: SearchOptions, model: Model, client: str) -> Found:
        """The page that was asked for. Raises Outage."""
        pages = await self._judged(queries, options, model, client)
        pending = (await self.overviews.statistics.get(options.where.bucket)).pending
        if len(pages) == 1:
            return Found(queries, options, model, paged(pages[0], options), [None], pending)
        own = [paged(page, options) for page in pages]
        return Found(queries, options, model, merged(pages, options), own, pending)

    async def _judged(self, queries: Sequence[Query], options: SearchOptions, model: Model, client: str) -> list[Page]:
        """One ranking per query, from offset 0 on; the best hits over all are verified if asked for."""
        if not options.verify:
            pages = await self.ranker.pages(queries, options, model)
            return [with_verdicts(page, model.copy_threshold) for page in pages]
        verifier = self.verifying.for_client(client)
        async with verifier.looking_at(dict(enumerate(queries)), QUICK) as quick:
            pages = await self.ranker.pages(queries, options, model)
            ranking = merged(pages, replace(options, offset=0, limit=MAX_WINDOW))
            best = worth_verifying(ranking, self.verify_best)
            verified = await verifier.hits(queries, quick, best, model.floor)
        return [with_verdicts(page, model.copy_threshold, verified) for page in pages]


def worth_verifying(page: Page, most: int) -> list[Hit]:
    """The best hits of a ranking, as far as verifying them can tell anything."""
    return [hit for hit in page.hits if _before_looking(hit) is None][:most]


def _before_looking(hit: Hit) -> Unverified | None:
    """Why a hit need not be looked at."""
    if hit.verdict is Verdict.EXACT:
        return Unverified.SAME_BYTES
    return Unverified.FAR if hit.score < WORTH_A_LOOK else None


def with_verdicts(page: Page, copy_threshold: float, verified: Mapping[Place, Verification] | None = None) -> Page:
    """One query's ranking, from offset 0 on, with what can be said of each hit; ``verified`` where that was asked for.

    Then a `copy` is a verified one, and what could not be verified is a likely copy at best.
    """
    verifying = verified is not None
    known = [(verified or {}).get(_place(hit)) or _unverified(hit, verifying=verifying) for hit in page.hits]
    inexact = [hit for hit in page.hits if hit.verdict is not Verdict.EXACT]
    first = len(page.hits) - len(inexact)
    verdicts = judged(
        [hit.score for hit in inexact],
        [is_copy(each) for each in known[first:]],
        copy_threshold,
        verifying=verifying,
        of_wholes=[hit.score_of_whole for hit in inexact],
    )
    exact = [replace(hit, verification=each) for hit, each in zip(page.hits[:first], known, strict=False)]
    rest = [
        replace(hit, verification=each, verdict=said.verdict, likely=said.likely)
        for hit, each, said in zip(page.hits[first:], known[first:], verdicts, strict=True)
    ]
    return replace(page, hits=exact + rest)


def _unverified(hit: Hit, *, verifying: bool) -> Unverified:
    if not verifying:
        return Unverified.NOT_ASKED
    return _before_looking(hit) or Unverified.NOT_AMONG_BEST
