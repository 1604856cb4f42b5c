"""Vectors in Milvus or the Milvus Lite server, by pymilvus' asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import batched
from typing import Any, Final

import numpy as np
from pymilvus import AsyncMilvusClient

from schemas.collection import BUCKET_FIELD, ID_FIELD, METRIC, VECTOR_FIELD, collection_name, model_id_of
from schemas.errors import ConfigurationError, VectorIndexOutage
from schemas.settings import VectorSettings
from stores.vectors.arguments import check_limit, checked_entries, checked_id, checked_vector, filterable_bucket
from stores.vectors.milvus_collection import (
    Live,
    build_collection,
    collection_of_alias,
    live_collection,
    model_of_collection,
    move_alias,
    point_alias,
    rebuild_index,
)
from stores.vectors.milvus_errors import silence_pymilvus, translated_milvus_errors
from stores.vectors.milvus_ids import rising_ids
from stores.vectors.ports import LiveCollection, Vector, VectorEntry, VectorHit
from stores.vectors.whole import WholesOnly

ONE_TRY: Final[dict[str, Any]] = {"retry_times": 0}
"""Left alone, pymilvus would try an unavailable server again for minutes; our callers do that themselves."""
ROWS_PER_CALL: Final = 500
"""Some 1 MB of 512 floats each."""
IDS_PER_FILTER: Final = 4000
"""``id in [...]`` of this length is some 80 kB; 2.3.5 and Milvus Lite answer it as fast as a short one."""


class MilvusConnection:
    """A connection that is made when it is first asked for, and again after it was closed."""

    def __init__(self, settings: VectorSettings) -> None:
        self._settings = settings
        self._opening = asyncio.Lock()
        self._client: AsyncMilvusClient | None = None

    async def client(self) -> AsyncMilvusClient:
        """The client, of a server that has answered once."""
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is None:
                settings, token = self._settings, self._settings.token.get_secret_value()
                # Not a shared connection, neither pymilvus's nor gRPC's: both keep that one open after close(), and
                # Milvus Lite turns away who pings an idle one, so that whoever connected next would be told so.
                client = AsyncMilvusClient(
                    uri=settings.uri,
                    token=token,
                    timeout=settings.timeout_s,
                    dedicated=True,
                    grpc_options={"grpc.use_local_subchannel_pool": 1},
                )
                await client.get_server_version(**ONE_TRY)
                self._client = client
        return self._client

    async def close(self) -> None:
        """Give the connection back."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


class MilvusVectors(WholesOnly):
    """A VectorIndex on one Milvus server, through the alias that names the live collection, or on one collection.

    Nothing connects before the first call. After an outage the next call connects, looks at the collection and loads
    it again.
    """

    def __init__(
        self, settings: VectorSettings, *, connection: MilvusConnection | None = None, collection: str | None = None
    ) -> None:
        silence_pymilvus()
        self._settings = settings
        self._connection = connection or MilvusConnection(settings)
        self._opening = asyncio.Lock()
        self._target = collection or settings.alias
        self._live: Live | None = None

    def of(self, collection: str) -> MilvusVectors:
        """See VectorIndex. The connection is shared: who closes one, closes all."""
        return MilvusVectors(self._settings, connection=self._connection, collection=collection)

    async def close(self) -> None:
        """Give back the connection. The next call would connect again."""
        self._live = None
        await self._connection.close()

    async def search(
        self,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]:
        """See VectorReader. A long ``among`` is searched in parts, and the parts' hits are merged."""
        check_limit(limit)
        if not queries:
            return []
        live = await self._opened()
        vectors = [checked_vector(query, live.dimension) for query in queries]
        if among is None:
            return await self._search(vectors, _filter(bucket), limit=limit, strong=strong)
        merged: list[list[VectorHit]] = [[] for _ in vectors]
        for part in _parts(among, IDS_PER_FILTER):
            answer = await self._search(vectors, _filter(bucket, part), limit=limit, strong=strong, among_few=True)
            for hits, more in zip(merged, answer, strict=True):
                hits.extend(more)
        return [sorted(hits, key=lambda hit: -hit.cosine)[:limit] for hits in merged]

    async def get(self, vector_ids: Sequence[int], *, strong: bool = True) -> Mapping[int, Vector]:
        """See VectorReader."""
        live = await self._opened()
        found: dict[int, Vector] = {}
        for part in _parts(vector_ids, ROWS_PER_CALL):
            for row in await self._query(_filter(None, part), [ID_FIELD, VECTOR_FIELD], strong=strong):
                vector = np.asarray(row[VECTOR_FIELD], dtype=np.float32)
                found[row[ID_FIELD]] = checked_vector(vector, live.dimension)
        return found

    async def known(self, vector_ids: Collection[int]) -> set[int]:
        """See VectorIndex."""
        await self._opened()
        found: set[int] = set()
        for part in _parts(vector_ids, IDS_PER_FILTER):
            found |= {row[ID_FIELD] for row in await self._query(_filter(None, part), [ID_FIELD])}
        return found

    async def count(self, bucket: str | None = None) -> int:
        """See VectorReader."""
        await self._opened()
        rows = await self._query(_filter(bucket), ["count(*)"])
        return int(rows[0]["count(*)"])

    async def check(self) -> None:
        """See VectorReader. The collection is loaded if it isn't."""
        self._live = None
        await self._opened()

    async def model_name(self) -> str:
        """See VectorReader."""
        if self._target == self._settings.alias:
            return (await self.live()).model_name
        client = await self._connected()
        async with self._translated("look at the collection"):
            return await self._model_of(client, self._target)

    async def live(self) -> LiveCollection:
        """See VectorReader."""
        client = await self._connected()
        async with self._translated("look at the alias"):
            name = await collection_of_alias(client, self._settings.alias)
            prefix = collection_name(self._settings.alias, "")
            if name is None or not name.startswith(prefix):
                raise ConfigurationError(f"Milvus has no collection {prefix}… for the alias; run `twinlens setup`")
            return LiveCollection(name, await self._model_of(client, name))

    async def _model_of(self, client: AsyncMilvusClient, name: str) -> str:
        prefix = collection_name(self._settings.alias, "")
        return await model_of_collection(client, name) or name.removeprefix(prefix)

    async def upsert(self, entries: Sequence[VectorEntry]) -> None:
        """See VectorIndex."""
        live = await self._opened()
        rows = [
            {ID_FIELD: entry.vector_id, BUCKET_FIELD: entry.bucket, VECTOR_FIELD: entry.vector}
            for entry in checked_entries(entries, live.dimension)
        ]
        client = await self._connected()
        for part in batched(rows, ROWS_PER_CALL):
            async with self._translated("upsert"):
                await client.upsert(self._target, list(part), **ONE_TRY)

    async def delete(self, vector_ids: Sequence[int]) -> None:
        """See VectorIndex."""
        await self._opened()
        client = await self._connected()
        for part in _parts(vector_ids, IDS_PER_FILTER):
            async with self._translated("delete"):
                await client.delete(self._target, ids=list(part), **ONE_TRY)

    async def ids(self, *, bucket: str, after: int = -1, page: int = 1000) -> AsyncIterator[Sequence[int]]:
        """See VectorIndex."""
        await self._opened()
        condition = _filter(bucket)

        async def query(above: int, up_to: int, limit: int) -> list[int]:
            wanted = f"{condition} and {ID_FIELD} > {above} and {ID_FIELD} <= {up_to}"
            return [row[ID_FIELD] for row in await self._query(wanted, [ID_FIELD], limit=limit)]

        async for numbers in rising_ids(query, after=after, page=page):
            yield numbers

    async def ensure_collection(self, *, model_name: str, dimension: int) -> None:
        """See VectorIndex. Also loads the collection."""
        settings = self._settings
        name = collection_name(settings.alias, model_id_of(model_name))
        client = await self._connected()
        async with self._translated("set up the collection"):
            present = await collection_of_alias(client, settings.alias)
            if present is not None and model_id_of(await self._model_of(client, present)) != model_id_of(model_name):
                raise ConfigurationError(
                    f"the alias {settings.alias} names the collection {present}, not {name}: the model was changed; "
                    "`twinlens models switch` builds the other collection while pictures stay searchable"
                )
            await build_collection(client, present or name, model_name, dimension, settings)
            if present is None:
                await point_alias(client, settings.alias, name)
        await self.check()

    async def create(self, collection: str, *, model_name: str, dimension: int) -> None:
        """See VectorIndex."""
        client = await self._connected()
        async with self._translated("create a collection"):
            await build_collection(client, collection, model_name, dimension, self._settings)
        await self.of(collection).check()

    async def make_live(self, collection: str) -> None:
        """See VectorIndex."""
        client = await self._connected()
        async with self._translated("move the alias"):
            await move_alias(client, self._settings.alias, collection)
        self._live = None

    async def drop(self, collection: str) -> None:
        """See VectorIndex."""
        client = await self._connected()
        async with self._translated("drop a collection"):
            if await collection_of_alias(client, self._settings.alias) == collection:
                raise ConfigurationError(f"the collection {collection} is the live one, which is not dropped")
            if await client.has_collection(collection, **ONE_TRY):
                await client.drop_collection(collection, **ONE_TRY)

    async def has(self, collection: str) -> bool:
        """See VectorIndex."""
        client = await self._connected()
        async with self._translated("look for a collection"):
            return bool(await client.has_collection(collection, **ONE_TRY))

    async def rebuild_index(self) -> None:
        """Put the index that the settings ask for in the place of the collection's, and load the collection.

        It takes as long as Milvus builds: minutes to hours, without a time limit. Meanwhile searches are outages or
        slow. Raises VectorIndexOutage; then repeat it.
        """
        client = await self._connected()
        async with translated_milvus_errors("Milvus: rebuild the index", timeout_s=None):
            await rebuild_index(client, await self._collection(client), self._settings)
        self._live = None

    async def rows_indexed(self) -> tuple[int, int]:
        """How many of the stored vectors an index covers, and how many there are; newly stored ones wait a while."""
        client = await self._connected()
        async with self._translated("look at the index"):
            described = await client.describe_index(await self._collection(client), VECTOR_FIELD, **ONE_TRY)
        return int(described["indexed_rows"]), int(described["total_rows"])

    async def flush(self) -> None:
        """See VectorIndex."""
        await self._opened()
        client = await self._connected()
        async with self._translated("flush"):
            await client.flush(self._target, **ONE_TRY)

    async def _search(
        self, vectors: Sequence[Vector], condition: str, *, limit: int, strong: bool, among_few: bool = False
    ) -> list[list[VectorHit]]:
        client, live = await self._connected(), await self._opened()
        parameters = live.index.search_parameters(self._settings, limit=limit, among_few=among_few)
        async with self._translated("search"):
            answer = await client.search(
                self._target,
                data=list(vectors),
                anns_field=VECTOR_FIELD,
                filter=condition,
                limit=limit,
                output_fields=[ID_FIELD],
                search_params={"metric_type": METRIC, "params": parameters},
                consistency_level="Strong" if strong else "Bounded",
                **ONE_TRY,
            )
        return [[VectorHit(hit[ID_FIELD], float(hit["distance"])) for hit in hits] for hits in answer]

    async def _query(
        self, condition: str, fields: list[str], *, strong: bool = True, **options: Any
    ) -> list[dict[str, Any]]:
        client = await self._connected()
        async with self._translated("query"):
            return list(
                await client.query(
                    self._target,
                    filter=condition,
                    output_fields=fields,
                    consistency_level="Strong" if strong else "Bounded",
                    **options,
                    **ONE_TRY,
                )
            )

    async def _collection(self, client: AsyncMilvusClient) -> str:
        """The name of the collection that was chosen, or of the live one."""
        if self._target != self._settings.alias:
            return self._target
        name = await collection_of_alias(client, self._settings.alias)
        if name is None:
            raise ConfigurationError(f"Milvus has no collection {self._settings.alias}; run `twinlens setup`")
        return name

    async def _connected(self) -> AsyncMilvusClient:
        """The client. A connection that it loses later it makes anew by itself."""
        async with self._translated("connect"):
            return await self._connection.client()

    async def _opened(self) -> Live:
        """The live collection, looked at and loaded since the last outage."""
        if self._live is None:
            client = await self._connected()
            async with self._opening, self._translated("look at the collection"):
                if self._live is None:
                    self._live = await live_collection(client, self._target)
        return self._live

    @asynccontextmanager
    async def _translated(self, what: str) -> AsyncIterator[None]:
        """Errors become ours; after an outage the collection is looked at again before the next call."""
        try:
            async with translated_milvus_errors(f"Milvus: {what}", timeout_s=self._settings.timeout_s):
                yield
        except VectorIndexOutage:
            self._live = None
            raise


def _filter(bucket: str | None, ids: Iterable[int] | None = None) -> str:
    parts = []
    if bucket is not None:
        parts.append(f'{BUCKET_FIELD} == "{filterable_bucket(bucket)}"')
    if ids is not None:
        parts.append(f"{ID_FIELD} in [{','.join(map(str, ids))}]")
    return " and ".join(parts)


def _parts(ids: Iterable[int], size: int) -> Iterator[tuple[int, ...]]:
    return batched(sorted({checked_id(number) for number in ids}), size)
