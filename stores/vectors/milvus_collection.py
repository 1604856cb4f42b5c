"""The collection on a Milvus server: making it, looking at it, loading it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import grpc
from pymilvus import AsyncMilvusClient, DataType
from pymilvus.client.types import LoadState
from pymilvus.exceptions import MilvusException

from schemas.collection import (
    BUCKET_FIELD,
    BUCKET_MAX_LENGTH,
    ID_FIELD,
    METRIC,
    MODEL_PROPERTY,
    OTHER_FILE,
    VECTOR_FIELD,
    is_same_model,
)
from schemas.errors import ConfigurationError, VectorIndexOutage
from schemas.settings import VectorSettings
from stores.vectors.milvus_errors import NOT_FOUND
from stores.vectors.milvus_index import VectorIndexSpec

_ONE_TRY: Final[dict[str, Any]] = {"retry_times": 0}


@dataclass(frozen=True, slots=True)
class Live:
    """What is known of the collection that the alias names."""

    dimension: int
    index: VectorIndexSpec


async def live_collection(client: AsyncMilvusClient, alias: str) -> Live:
    """Look at the collection behind the alias and load it unless it is loaded.

    Raises VectorIndexOutage if there is none: it may be on its way, and nobody's work should be given up for that.
    """
    try:
        described = await client.describe_collection(alias, **_ONE_TRY)
    except MilvusException as error:
        if error.code in NOT_FOUND:
            raise VectorIndexOutage(f"Milvus has no collection {alias}; run `twinlens setup`") from error
        raise
    state = await client.get_load_state(alias, **_ONE_TRY)
    if state["state"] != LoadState.Loaded:
        await client.load_collection(alias, **_ONE_TRY)
    return Live(_dimension(described), await _index(client, alias))


async def build_collection(
    client: AsyncMilvusClient, name: str, model_name: str, dimension: int, settings: VectorSettings
) -> None:
    """Create the collection with its index, unless that is so. Safe to repeat, also after it was interrupted.

    Raises ConfigurationError if the collection has another dimension or index, or is of another model with the same id.
    """
    if not await client.has_collection(name, **_ONE_TRY):
        await _create(client, name, model_name, dimension)
    described = await client.describe_collection(name, **_ONE_TRY)
    if _dimension(described) != dimension:
        raise ConfigurationError(f"the collection {name} has {_dimension(described)} dimensions, the model {dimension}")
    made_by = await model_of_collection(client, name)
    if made_by is not None and not is_same_model(made_by, model_name):
        raise ConfigurationError(f"the collection {name} was made by {made_by}, not {model_name}: {OTHER_FILE}")
    wanted = VectorIndexSpec.wanted(settings)
    if not await client.list_indexes(name, **_ONE_TRY):
        await _create_index(client, name, wanted)
    present = await _index(client, name)
    if not present.is_like(wanted):
        raise ConfigurationError(
            f"the collection {name} has the index {present}, the settings ask for {wanted}: "
            "run `twinlens rebuild-index` to have it built anew, or set vectors.index and what belongs to it back"
        )


async def rebuild_index(client: AsyncMilvusClient, name: str, settings: VectorSettings) -> None:
    """Put the index that the settings ask for in the place of the collection's, and load the collection.

    Milvus builds it behind that, see :func:`rows_indexed`. Safe to repeat, also after it was interrupted.
    """
    await client.release_collection(name, **_ONE_TRY)
    await client.drop_index(name, VECTOR_FIELD, **_ONE_TRY)
    await _create_index(client, name, VectorIndexSpec.wanted(settings))
    await client.load_collection(name, **_ONE_TRY)


async def _index(client: AsyncMilvusClient, name: str) -> VectorIndexSpec:
    return VectorIndexSpec.described(await client.describe_index(name, VECTOR_FIELD, **_ONE_TRY))


async def model_of_collection(client: AsyncMilvusClient, name: str) -> str | None:
    """The name of the model that made the collection, or None if that was before there were fingerprints."""
    described = await client.describe_collection(name, **_ONE_TRY)
    name_in_use: str | None = described["properties"].get(MODEL_PROPERTY)
    return name_in_use


async def _create(client: AsyncMilvusClient, name: str, model_name: str, dimension: int) -> None:
    # Without auto_id, since 2.3.5 silently stores nothing when asked to upsert under ids of its own. And with a plain
    # field for the bucket: over a partition key it finds the right one in 1 of 30 searches.
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(ID_FIELD, DataType.INT64, is_primary=True)
    schema.add_field(BUCKET_FIELD, DataType.VARCHAR, max_length=BUCKET_MAX_LENGTH)
    schema.add_field(VECTOR_FIELD, DataType.FLOAT_VECTOR, dim=dimension)
    try:
        await client.create_collection(
            name, schema=schema, consistency_level="Bounded", properties={MODEL_PROPERTY: model_name}, **_ONE_TRY
        )
    except MilvusException:
        # Another setup may have been quicker; Milvus Lite calls that an error, without a code of its own.
        if not await client.has_collection(name, **_ONE_TRY):
            raise


async def _create_index(client: AsyncMilvusClient, name: str, wanted: VectorIndexSpec) -> None:
    index = client.prepare_index_params()
    index.add_index(VECTOR_FIELD, index_type=wanted.type, metric_type=METRIC, params=dict(wanted.parameters))
    try:
        await client.create_index(name, index, **_ONE_TRY)
    except (grpc.RpcError, MilvusException):
        # Another setup may have been quicker. And Milvus Lite accepts the index, but has no clock that pymilvus
        # could ask afterwards.
        if not await client.list_indexes(name, **_ONE_TRY):
            raise


async def collection_of_alias(client: AsyncMilvusClient, alias: str) -> str | None:
    """The name of the collection that the alias stands for, or None where there is no such alias."""
    try:
        described = await client.describe_alias(alias, **_ONE_TRY)
    except MilvusException as error:
        if error.code in NOT_FOUND:
            return None
        raise
    name = described.get("collection_name")
    return str(name) if name else None


async def point_alias(client: AsyncMilvusClient, alias: str, name: str) -> None:
    """Make a new alias for the collection. Safe to repeat; never moves one."""
    try:
        await client.create_alias(name, alias, **_ONE_TRY)
    except MilvusException:
        if await collection_of_alias(client, alias) != name:
            raise


async def move_alias(client: AsyncMilvusClient, alias: str, name: str) -> None:
    """Have the alias name this collection; safe to repeat."""
    if await collection_of_alias(client, alias) != name:
        await client.alter_alias(name, alias, **_ONE_TRY)


def _dimension(described: dict[str, Any]) -> int:
    for field in described["fields"]:
        if field["name"] == VECTOR_FIELD:
            return int(field["params"]["dim"])
    raise ConfigurationError(f"the collection {described['collection_name']} has no field {VECTOR_FIELD}")
