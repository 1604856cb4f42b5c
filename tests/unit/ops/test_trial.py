"""Waiting until pictures are searchable, and searching their copies, against answers as the API gives them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.copies import TRANSFORMS
from ops.embedded.errors import StackError
from ops.embedded.searchable import Figures, wait_until_searchable
from ops.embedded.trial import indexed_sample, recall_at_1, search_copies
from ops.http_client import ApiClient
from query_api.sharing.shared import FRESH_S
from tests.harness.pictures import picture

Answer = Callable[[httpx.Request], Mapping[str, Any] | None]


def client(answer: Answer) -> ApiClient:
    """A client of a query service that answers so, or 503 for None."""

    def respond(request: httpx.Request) -> httpx.Response:
        found = answer(request)
        return httpx.Response(503, json={"title": "Away"}) if found is None else httpx.Response(200, json=dict(found))

    return ApiClient("http://twinlens", transport=httpx.MockTransport(respond))


def stats(*, indexed: int = 0, pending: int = 0) -> dict[str, Any]:
    """The answer of /v1/stats."""
    counts = {"objects": indexed + pending, "contents": indexed + pending, "indexed": indexed, "pending": pending}
    return {**counts, "rejected": 0, "vectors": None}


@pytest.mark.slow
async def test_it_waits_until_the_catalog_agrees_and_nothing_is_pending() -> None:
    """Everything known being searchable is not enough while the bucket holds more."""
    steps = [None, stats(indexed=1), stats(indexed=1), stats(indexed=1, pending=1)]
    answers = chain(steps, repeat(stats(indexed=2)))
    looks = iter([False, True, True])

    async def agrees() -> bool:
        return next(looks)

    shown: list[tuple[int, int]] = []
    async with client(lambda _: next(answers)) as api:
        figures = await wait_until_searchable(api, agrees, lambda *counts: shown.append(counts))
    assert figures == Figures(objects=2, contents=2, indexed=2, rejected=0, pending=0)
    assert shown[:3] == [(1, 1), (1, 1), (1, 2)]
    assert set(shown[3:]) == {(2, 2)}


@pytest.mark.slow
async def test_figures_that_were_read_before_the_catalog_agreed_do_not_count() -> None:
    """The query service tells all who ask within a second the same: of a moment when nothing was known yet."""
    first = time.monotonic()

    async def agrees() -> bool:
        return True

    def shared(_request: httpx.Request) -> dict[str, Any]:
        return stats() if time.monotonic() - first < 0.9 * FRESH_S else stats(indexed=2)

    async with client(shared) as api:
        assert (await wait_until_searchable(api, agrees, lambda *_: None)).indexed == 2


async def test_a_standstill_is_told() -> None:
    """Nobody watches a bar for ever that does not move."""

    async def agrees() -> bool:
        return False

    async with client(lambda _: stats(pending=1)) as api:
        with pytest.raises(StackError, match="nothing became searchable for 0 s"):
            await wait_until_searchable(api, agrees, lambda *_: None, stalled_s=0.1)


def files(folder: Path, count: int) -> list[Path]:
    """Files with pictures."""
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(picture(number))
    return paths


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_only_indexed_pictures_are_sampled(tmp_path: Path) -> None:
    """A rejected picture can't be found, and is no failure of the search."""
    paths = files(tmp_path, 10)
    rejected = digest(paths[4])

    def answer(request: httpx.Request) -> Mapping[str, Any]:
        assert request.url.params["state"] == "indexed"
        return {"results": [] if request.url.params["sha256"] == rejected else [{}]}

    async with client(answer) as api:
        assert await indexed_sample(api, paths, 5) == [paths[0], paths[2], paths[6], paths[8]]
        assert await indexed_sample(api, paths[:2], 5) == paths[:2]


async def test_every_kind_of_copy_is_counted_by_itself(tmp_path: Path) -> None:
    """Found means: the original's content came first."""
    [path] = files(tmp_path, 1)
    wrong = TRANSFORMS["grey"](path.read_bytes())

    def answer(request: httpx.Request) -> Mapping[str, Any]:
        if request.content == wrong:
            return {"results": [{"image": {"sha256": "0" * 64}}]}
        return {"results": [{"image": {"sha256": digest(path)}}]}

    advanced: list[int] = []
    async with client(answer) as api:
        results = await search_copies(api, [path], lambda: advanced.append(1))
    assert {result.transform: result.found for result in results} == dict.fromkeys(TRANSFORMS, 1) | {"grey": 0}
    assert len(advanced) == len(TRANSFORMS)
    assert recall_at_1(results) == pytest.approx(5 / 6)
    assert all(result.searches == 1 and result.median_ms > 0 for result in results)


async def test_no_hit_at_all_is_no_find(tmp_path: Path) -> None:
    """An empty answer counts as a search that failed, and no search at all as no recall."""
    async with client(lambda _: {"results": []}) as api:
        results = await search_copies(api, files(tmp_path, 1), lambda: None)
    assert recall_at_1(results) == 0
    assert recall_at_1([]) == 0
