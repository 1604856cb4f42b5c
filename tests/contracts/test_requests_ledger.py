"""The ledger of request ids: the same behaviour in memory, on SQLite, MariaDB and MySQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from schemas.errors import CatalogOutage
from schemas.records import ObjectRef, RequestRecord, RequestResult
from schemas.settings import DatabaseSettings
from stores.catalog.engine import create_engine
from stores.catalog.migrate import upgrade
from stores.catalog.ports import RequestLedger
from stores.catalog.requests import MemoryRequestLedger, SqlRequestLedger
from stores.catalog.sql import SqlCatalog
from tests.harness.catalogs import BACKENDS

NOW = datetime(2026, 11, 23, 2, 32, 1, 260815, tzinfo=UTC)
REF = ObjectRef("pictures", "käse/a.jpg")


@pytest.fixture(params=BACKENDS)
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RequestLedger]:
    """An empty ledger of each kind."""
    if request.param == "memory":
        yield MemoryRequestLedger()
        return
    sqlite = f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}"
    url = sqlite if request.param == "sqlite" else request.getfixturevalue(f"{request.param}_url")
    await upgrade(url)
    catalog = SqlCatalog(create_engine(DatabaseSettings(url=SecretStr(url))))
    try:
        yield SqlRequestLedger(catalog)
    finally:
        await catalog.close()


def asked(request_id: str = "r-1", *, etag: str | None = None) -> RequestRecord:
    """A request that was just taken up; `etag` is that of the object that was there."""
    return RequestRecord(request_id, ref=REF, expected={"etag": etag} if etag else {}, created_at=NOW)


def done(row: RequestRecord, outcome: RequestResult, *, after: int = 0, reason: str | None = None) -> RequestRecord:
    """The row with an outcome, `after` microseconds later."""
    moment = NOW + timedelta(microseconds=after)
    return replace(row, outcome=outcome, reason=reason, occurred_at=moment, publish_due=moment + timedelta(seconds=30))


async def persistently(ledger: RequestLedger, row: RequestRecord, *, conclude: bool = False) -> RequestRecord:
    """The call, made again while the database asks for that, as `streams.common.backoff` does."""
    while True:
        try:
            return await (ledger.conclude(row) if conclude else ledger.take_up(row))
        except CatalogOutage:
            await asyncio.sleep(0)


async def test_the_first_taking_up_stays(ledger: RequestLedger) -> None:
    """Whoever takes the id up again is told what the first one remembered."""
    first = asked(etag="e1")
    assert await ledger.take_up(first) == first
    assert await ledger.take_up(asked(etag="e2")) == first
    assert await ledger.take_up(replace(asked(), ref=ObjectRef("pictures", "other"))) == first


async def test_the_first_outcome_stays(ledger: RequestLedger) -> None:
    """A later outcome changes nothing, not even its time, so that a repeated message is identical."""
    row = await ledger.take_up(asked())
    first = done(row, RequestResult.STORED)
    assert await ledger.conclude(first) == first
    assert await ledger.conclude(done(row, RequestResult.REFUSED, after=7, reason="too late")) == first
    assert await ledger.take_up(asked(etag="e2")) == first


async def test_an_outcome_needs_no_taking_up(ledger: RequestLedger) -> None:
    """A request that is refused at once is taken up with its outcome, unless its id is known."""
    refused = done(RequestRecord("r-1", created_at=NOW), RequestResult.REFUSED, reason="ß ist kein Bild: 📷")
    assert await ledger.take_up(refused) == refused
    assert await ledger.conclude(done(asked("r-2"), RequestResult.LOOKED)) == done(asked("r-2"), RequestResult.LOOKED)
    in_work = await ledger.take_up(asked("r-3"))
    assert await ledger.take_up(replace(refused, request_id="r-3")) == in_work


IDS = ["ümläut", "日本語-📷", "a/b?c=%20&d", "R-1", "r" * 255, "📷" * 255, "'; --", "ﬁ", "é", "e\u0301"]


@pytest.mark.parametrize("request_id", IDS, ids=range(len(IDS)))
async def test_ids_of_every_kind_are_told_apart(ledger: RequestLedger, request_id: str) -> None:
    """Ids are compared character by character: neither case nor accents nor normalisation are overlooked."""
    others = [asked(other) for other in ("r-1", "e", "fi", "umlaut", "日本語", "r" * 254)]
    for other in others:
        await ledger.take_up(other)
    mine = done(asked(request_id, etag="mine"), RequestResult.STORED)
    assert await ledger.take_up(asked(request_id, etag="mine")) == asked(request_id, etag="mine")
    assert await ledger.conclude(mine) == mine
    assert [await ledger.take_up(other) for other in others] == others


async def test_what_is_due_is_listed_until_it_is_published(ledger: RequestLedger) -> None:
    """Only outcomes are listed, oldest first and no more than asked for, from their time on."""
    await ledger.take_up(asked("still in work"))
    rows = [done(asked(f"r-{n}"), RequestResult.STORED, after=n) for n in (3, 1, 2)]
    for row in rows:
        await ledger.conclude(row)
    late = NOW + timedelta(seconds=30, microseconds=2)
    assert [row.request_id for row in await ledger.due(NOW, limit=10)] == []
    assert [row.request_id for row in await ledger.due(late, limit=10)] == ["r-1", "r-2"]
    assert [row.request_id for row in await ledger.due(late, limit=1)] == ["r-1"]
    await ledger.published(["r-1"])
    await ledger.published(["r-1"])
    [left] = await ledger.due(late, limit=10)
    assert left == rows[2]


async def test_a_hundred_take_one_id_up_at_once(ledger: RequestLedger) -> None:
    """All of them are told the same row, which is one of theirs."""
    rows = await asyncio.gather(*[persistently(ledger, asked(etag=f"e{n}")) for n in range(100)])
    assert all(row == rows[0] for row in rows)
    assert rows[0] in [asked(etag=f"e{n}") for n in range(100)]


async def test_a_hundred_conclude_one_id_at_once(ledger: RequestLedger) -> None:
    """All of them are told the same outcome, which is one of theirs, and it stays."""
    row = await ledger.take_up(asked())
    outcomes = [done(row, RequestResult.STORED if n % 2 else RequestResult.SUPERSEDED, after=n) for n in range(100)]
    told = await asyncio.gather(*[persistently(ledger, outcome, conclude=True) for outcome in outcomes])
    assert all(outcome == told[0] for outcome in told)
    assert told[0] in outcomes
    assert await ledger.take_up(asked()) == told[0]


async def test_many_ids_at_once_do_not_stand_in_each_others_way(ledger: RequestLedger) -> None:
    """Each id gets its own row and its own outcome."""

    async def one(number: int) -> RequestRecord:
        row = await persistently(ledger, asked(f"r-{number}", etag=str(number)))
        return await persistently(ledger, done(row, RequestResult.STORED, after=number), conclude=True)

    rows = await asyncio.gather(*[one(number) for number in range(60)])
    wanted = [done(asked(f"r-{n}", etag=str(n)), RequestResult.STORED, after=n) for n in range(60)]
    assert rows == wanted


async def test_those_with_an_outcome_are_known(ledger: RequestLedger) -> None:
    """One question for a batch: what is still in work, or was never taken up, is not among the answers."""
    await ledger.take_up(asked("in work"))
    rows = {f"r-{n}": await ledger.conclude(done(asked(f"r-{n}"), RequestResult.STORED)) for n in range(3)}
    assert await ledger.concluded({"r-0", "r-2", "in work", "unheard of"}) == {
        name: rows[name] for name in ("r-0", "r-2")
    }
    assert await ledger.concluded(set()) == {}


async def test_old_requests_are_dropped_in_batches(ledger: RequestLedger) -> None:
    """Oldest first; what is in work, or whose outcome was not published, stays however old it is."""
    await ledger.take_up(asked("in work"))
    for number in range(4):
        await ledger.conclude(done(asked(f"r-{number}"), RequestResult.STORED, after=number))
    await ledger.published(["r-0", "r-1", "r-3"])
    later = NOW + timedelta(seconds=1)
    assert await ledger.drop_concluded(NOW, limit=10) == 0
    assert await ledger.drop_concluded(later, limit=1) == 1
    assert (await ledger.concluded(["r-0", "r-1", "r-2", "r-3"])).keys() == {"r-1", "r-2", "r-3"}
    assert await ledger.drop_concluded(later, limit=10) == 2
    assert (await ledger.concluded(["r-0", "r-1", "r-2", "r-3"])).keys() == {"r-2"}
    fresh = replace(asked("r-0", etag="e2"), created_at=later)
    assert await ledger.take_up(fresh) == fresh
    assert await ledger.take_up(asked("in work", etag="e2")) == asked("in work")
