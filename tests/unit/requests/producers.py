"""Producers and the worker that carries out their requests, over the in-memory ports."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from schemas.errors import RefusedUrl
from schemas.messages import RequestOutcome
from schemas.records import ObjectRef
from schemas.settings import LimitSettings
from stores.broker.memory import MemoryOutbox
from stores.catalog.requests import MemoryRequestLedger
from streams.assembly import for_requests
from streams.common.backoff import BUCKET as OF_BUCKET
from streams.common.backoff import OutageRetry, Outages
from streams.common.deliveries import Delivery
from streams.requests.batches import Requests
from tests.harness.installation import BUCKET
from tests.unit.reconcile.installation import Reconciled

KEY = ObjectRef(BUCKET, "a.jpg")


def put_json(request_id: str, data: bytes = b"picture", **more: Any) -> bytes:
    """A put in the JSON form."""
    fields = {"request_id": request_id, "op": "put", "key": KEY.key, "content_base64": base64.b64encode(data).decode()}
    return json.dumps({"schema": 1, **fields, **more}).encode()


class Producers(Reconciled):
    """An installation with a requests agent's handler, and a topic of requests."""

    def __init__(
        self,
        *,
        limits: LimitSettings | None = None,
        outbox: MemoryOutbox | None = None,
        buckets: tuple[str, ...] = (BUCKET,),
    ) -> None:
        super().__init__(limits=limits, outbox=outbox, buckets=buckets)
        checks = {f"{OF_BUCKET}{bucket}": partial(self.objects.check, bucket) for bucket in buckets}
        self.retry = OutageRetry(self.settings.retry, Outages(self.clock, checks))
        self.ledger = MemoryRequestLedger()
        self.fetched: dict[str, bytes] = {}
        self.fetches: list[str] = []
        self.requests_ports = for_requests(
            self.ports, self.objects, self.ledger, self._fetch, buckets, self.aside("outcomes")
        )
        self.requests = Requests(self.requests_ports, self.aside("requests"), self.settings)

    async def _fetch(self, url: str, _max_bytes: int) -> tuple[bytes, str]:
        self.fetches.append(url)
        if url not in self.fetched:
            raise RefusedUrl("that address is private")
        return self.fetched[url], "image/png"

    async def take(self, *values: bytes | None, headers: Mapping[str, bytes] | None = None) -> None:
        """Handle one batch of messages."""
        await self.requests.handle(
            [Delivery("t.image-requests", 0, n, b"k", value, headers or {}) for n, value in enumerate(values)]
        )

    def outcomes(self) -> list[RequestOutcome]:
        """Everything that was sent to the producers."""
        return [RequestOutcome.decode(message.value) for message in self.outbox.to("t.request-outcomes")]

    def stored(self) -> bytes | None:
        """The bytes of the object now."""
        return self.objects.present(BUCKET).get(KEY.key)
