"""The ledger of request ids: what makes a producer's request happen once. In SQL and in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import delete, select, update

from schemas.records import ObjectRef, RequestRecord, RequestResult
from schemas.tables import requests
from stores.catalog.engine import AnyRow
from stores.catalog.ports import RequestLedger
from stores.catalog.sql import SqlCatalog


class SqlRequestLedger(RequestLedger):
    """The ledger in the catalog's database."""

    def __init__(self, catalog: SqlCatalog) -> None:
        self._catalog = catalog

    async def concluded(self, request_ids: Collection[str]) -> Mapping[str, RequestRecord]:
        if not request_ids:
            return {}
        mine = requests.c.request_id.in_(sorted(request_ids))
        rows = await self._catalog.rows(select(requests).where(mine, requests.c.outcome.is_not(None)))
        return {record.request_id: record for record in map(_record, rows)}

    async def take_up(self, request: RequestRecord) -> RequestRecord:
        async with self._catalog.transaction() as tx:
            await tx.insert_missing(requests, [{"request_id": request.request_id, **_values(request)}])
            return _record((await tx.rows(select(requests).where(requests.c.request_id == request.request_id)))[0])

    async def conclude(self, request: RequestRecord) -> RequestRecord:
        mine = requests.c.request_id == request.request_id
        async with self._catalog.transaction() as tx:
            await tx.insert_missing(requests, [{"request_id": request.request_id, **_values(request)}])
            await tx.write(update(requests).where(mine, requests.c.outcome.is_(None)).values(_values(request)))
            return _record((await tx.rows(select(requests).where(mine)))[0])

    async def published(self, request_ids: Collection[str]) -> None:
        if not request_ids:
            return
        mine = requests.c.request_id.in_(sorted(request_ids))
        async with self._catalog.transaction() as tx:
            await tx.write(update(requests).where(mine).values(publish_due=None))

    async def due(self, now: datetime, *, limit: int) -> Sequence[RequestRecord]:
        query = select(requests).where(requests.c.publish_due <= now, requests.c.outcome.is_not(None))
        rows = await self._catalog.rows(query.order_by(requests.c.publish_due).limit(limit))
        return [_record(row) for row in rows]

    async def drop_concluded(self, before: datetime, *, limit: int) -> int:
        old = requests.c.occurred_at < before, requests.c.publish_due.is_(None)
        query = select(requests.c.request_id).where(*old).order_by(requests.c.occurred_at).limit(limit)
        request_ids = sorted(request_id for (request_id,) in await self._catalog.rows(query))
        if request_ids:
            async with self._catalog.transaction() as tx:
                await tx.write(delete(requests).where(requests.c.request_id.in_(request_ids), *old))
        return len(request_ids)


def _values(request: RequestRecord) -> dict[str, object]:
    return {
        "outcome": str(request.outcome) if request.outcome else None,
        "reason": request.reason,
        "image_id": request.ref.image_id if request.ref else None,
        "bucket": request.ref.bucket if request.ref else None,
        "object_key": request.ref.key if request.ref else None,
        "expected": dict(request.expected) if request.expected is not None else None,
        "occurred_at": request.occurred_at,
        "publish_due": request.publish_due,
        "created_at": request.created_at,
    }


def _record(row: AnyRow) -> RequestRecord:
    fields = row._asdict()
    ref = ObjectRef(fields["bucket"], fields["object_key"]) if fields["object_key"] is not None else None
    return RequestRecord(
        request_id=fields["request_id"],
        outcome=RequestResult(fields["outcome"]) if fields["outcome"] else None,
        reason=fields["reason"],
        ref=ref,
        expected=fields["expected"],
        occurred_at=fields["occurred_at"],
        publish_due=fields["publish_due"],
        created_at=fields["created_at"],
    )


class MemoryRequestLedger(RequestLedger):
    """The ledger in memory, for unit tests and simulations."""

    def __init__(self) -> None:
        self.rows: dict[str, RequestRecord] = {}

    async def concluded(self, request_ids: Collection[str]) -> Mapping[str, RequestRecord]:
        return {row.request_id: row for row in self.rows.values() if row.request_id in request_ids and row.outcome}

    async def take_up(self, request: RequestRecord) -> RequestRecord:
        return self.rows.setdefault(request.request_id, request)

    async def conclude(self, request: RequestRecord) -> RequestRecord:
        known = self.rows.setdefault(request.request_id, request)
        if known.outcome is None:
            self.rows[request.request_id] = request
        return self.rows[request.request_id]

    async def published(self, request_ids: Collection[str]) -> None:
        for request_id in request_ids:
            self.rows[request_id] = replace(self.rows[request_id], publish_due=None)

    async def due(self, now: datetime, *, limit: int) -> Sequence[RequestRecord]:
        late = [row for row in self.rows.values() if row.outcome and row.publish_due and row.publish_due <= now]
        return sorted(late, key=lambda row: row.publish_due or now)[:limit]

    async def drop_concluded(self, before: datetime, *, limit: int) -> int:
        concluded = [(row.occurred_at, row) for row in self.rows.values() if row.occurred_at and not row.publish_due]
        old = sorted(row.request_id for occurred_at, row in concluded if occurred_at < before)[:limit]
        for request_id in old:
            del self.rows[request_id]
        return len(old)
