"""Making and removing what a test keeps on the servers.

The clients are imported where they are used: every pytest run loads this module, most need none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor

from minio import Minio
from minio.deleteobjects import DeleteObject

from tests.harness.stack.stack import Addresses


def in_own_loop[T](work: Coroutine[object, object, T]) -> T:
    """Run `work` in an event loop of its own thread, so that it fits beside whatever loop the caller has."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def run_sql(server_url: str, statement: str) -> None:
    """Run one statement on the database server."""
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(f"{server_url}/")
    try:
        async with engine.begin() as connection:
            await connection.execute(text(statement))
    finally:
        await engine.dispose()


async def delete_topics(bootstrap: str, prefix: str) -> None:
    """Delete the topics whose names begin with `prefix`; with them go the offsets that groups committed on them."""
    from aiokafka.admin import AIOKafkaAdminClient

    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        topics = [name for name in await client.list_topics() if name.startswith(prefix)]
        if topics:
            await client.delete_topics(topics)
    finally:
        await client.close()


def s3_client(addresses: Addresses) -> Minio:
    """A plain client with the server's own key."""
    return Minio(
        addresses.s3,
        access_key=addresses.access_key,
        secret_key=addresses.secret_key,
        secure=False,
        region="us-east-1",
    )


def remove_bucket(client: Minio, bucket: str) -> None:
    """Remove a bucket with all it holds; nothing happens if it isn't there."""
    if not client.bucket_exists(bucket):
        return
    names = (DeleteObject(found.object_name or "") for found in client.list_objects(bucket, recursive=True))
    for error in client.remove_objects(bucket, names):
        raise RuntimeError(f"{error.name} in {bucket} can't be removed: {error.message}")
    client.remove_bucket(bucket)


def remove_user(addresses: Addresses, name: str) -> None:
    """Remove a MinIO user and the policy of that name."""
    from minio.credentials.providers import StaticProvider
    from minio.minioadmin import MinioAdmin

    credentials = StaticProvider(addresses.access_key, addresses.secret_key)
    admin = MinioAdmin(endpoint=addresses.s3, credentials=credentials, secure=False)
    admin.user_remove(name)
    admin.policy_remove(name)


def drop_collections(uri: str, prefix: str) -> None:
    """Drop the Milvus collections whose names begin with `prefix`, with their aliases."""
    from pymilvus import MilvusClient

    client = MilvusClient(uri)
    try:
        for collection in client.list_collections():
            if collection.startswith(prefix):
                for alias in client.list_aliases(collection)["aliases"]:
                    client.drop_alias(alias)
                client.drop_collection(collection)
    finally:
        client.close()
