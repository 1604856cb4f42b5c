"""The credentials of the query service can read and can't write, those of the workers write: on the real servers."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc import RpcError
from minio import Minio
from minio.error import S3Error
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ops.grants import create_milvus_user, create_minio_user, create_mysql_user, share_milvus_privileges
from ops.privileges import Access
from schemas.collection import view_collections
from schemas.errors import TwinlensError
from schemas.records import ObjectRef
from schemas.settings import DatabaseSettings, ObjectSettings, VectorSettings
from schemas.tables import metadata
from stores.catalog.engine import create_engine
from stores.catalog.reading.sql import SqlCatalogReader
from stores.objects.s3 import S3Objects
from stores.vectors.milvus import MilvusVectors
from stores.vectors.ports import VectorEntry
from stores.vectors.views import VectorsWithViews
from tests.harness.commands import undocumented
from tests.harness.stack.cleanup import remove_user
from tests.harness.stack.fixtures import Servers
from tests.harness.stack.milvus import milvus_server
from tests.harness.stack.minio import TEST_ROUTES
from tests.harness.stack.process import free_port

PASSWORD = "only-for-this-test"
OLD_PASSWORD = "only-before-this-test"
DENIED = {1044, 1142, 1227}
"""MySQL: access denied to the database, the command denied for the table, the privilege is missing."""

SQL_WRITES = [
    "INSERT INTO progress (name, position, updated_at) VALUES ('x', '1', NOW())",
    "UPDATE images SET etag = NULL",
    "DELETE FROM contents",
    "DROP TABLE images",
    "CREATE TABLE mine (a INT)",
    "ALTER TABLE images ADD COLUMN mine INT",
    "TRUNCATE TABLE requests",
    "LOCK TABLES images WRITE",
]


@asynccontextmanager
async def mysql_user(mysql_url: str, access: Access) -> AsyncIterator[AsyncEngine]:
    """An engine of a user who was created with one password, and again with another; the user is gone afterwards."""
    url = make_url(mysql_url)
    assert url.database
    user = f"{url.database[:24]}_{access.value[0]}"
    administrator = create_async_engine(url)
    async with administrator.begin() as connection:
        await connection.run_sync(metadata.create_all)
    for password in (OLD_PASSWORD, PASSWORD):
        settings = DatabaseSettings.model_validate({"url": mysql_url})
        await create_mysql_user(settings, access, user=user, password=password)
    own = url.set(username=user, password=PASSWORD).render_as_string(hide_password=False)
    engine = create_engine(DatabaseSettings.model_validate({"url": own}))
    try:
        yield engine
    finally:
        await engine.dispose()
        async with administrator.begin() as connection:
            await connection.execute(text(f"DROP USER '{user}'@'%'"))
        await administrator.dispose()


async def assert_denied(engine: AsyncEngine, statements: Iterable[str]) -> None:
    """The server refuses each of them for want of a right."""
    for statement in statements:
        async with engine.connect() as connection:
            with pytest.raises(DBAPIError) as refused:
                await connection.execute(text(statement))
        assert refused.value.orig is not None
        assert refused.value.orig.args[0] in DENIED, statement


async def test_mysql_reader_reads_and_can_not_write(mysql_url: str) -> None:
    """The catalog can be read as the reader; every statement that changes something is denied."""
    async with mysql_user(mysql_url, Access.READ) as engine:
        catalog = SqlCatalogReader(engine)
        await catalog.check()
        assert (await catalog.statistics(None)).objects == 0
        await assert_denied(engine, SQL_WRITES)


async def test_mysql_writer_writes_rows_and_changes_no_table(mysql_url: str) -> None:
    """Tables and users stay the administrator's."""
    async with mysql_user(mysql_url, Access.WRITE) as engine:
        async with engine.connect() as connection:
            for statement in SQL_WRITES[:3]:
                await connection.execute(text(statement))
        await assert_denied(engine, (*SQL_WRITES[3:7], "CREATE USER mine"))


@pytest.fixture
def minio_reader(servers: Servers, bucket: str) -> Iterator[ObjectSettings]:
    """A MinIO user under the reader's policy for the test's bucket, whose password was changed."""
    at = servers.need("minio")
    settings = {"endpoint": at.s3, "access_key": at.access_key, "secret_key": at.secret_key, "buckets": [bucket]}
    name = f"reader-{bucket}"
    for password in (OLD_PASSWORD, PASSWORD):
        create_minio_user(ObjectSettings.model_validate(settings), Access.READ, user=name, password=password)
    yield ObjectSettings.model_validate({**settings, "access_key": name, "secret_key": PASSWORD})
    remove_user(at, name)


def test_the_command_says_whom_it_made(servers: Servers, bucket: str) -> None:
    """`twinlens grants minio --json` names the user, what it may, and where."""
    at = servers.need("minio")
    settings = {"ENDPOINT": at.s3, "ACCESS_KEY": at.access_key, "SECRET_KEY": at.secret_key, "BUCKETS": f'["{bucket}"]'}
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "grants", "minio", "--user", f"reader-{bucket}", "--json"],
        env={
            **os.environ,
            **{f"TWINLENS_OBJECTS__{name}": value for name, value in settings.items()},
            "TWINLENS_GRANTS_PASSWORD": PASSWORD,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    remove_user(at, f"reader-{bucket}")
    assert done.returncode == 0, done.stderr
    assert undocumented("grants minio", done.stdout) == set()
    assert json.loads(done.stdout) == {"user": f"reader-{bucket}", "may": "read", "buckets": [bucket]}


async def test_minio_reader_reads_and_can_not_write(minio_reader: ObjectSettings, bucket: str, s3: Minio) -> None:
    """Objects of the bucket can be read as the reader; putting, deleting and other buckets are denied."""
    s3.put_object(bucket, "a/ü.jpg", io.BytesIO(b"data"), 4)
    objects = S3Objects(minio_reader)
    await objects.check(bucket)
    ref = ObjectRef(bucket, "a/ü.jpg")
    state = await objects.head(ref)
    assert state is not None
    assert b"".join([piece async for piece in objects.stream(ref, etag=state.etag)]) == b"data"
    assert await objects.head(ObjectRef(bucket, "absent")) is None
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: objects.put(ref, b"other", content_type="image/png"),
        lambda: objects.delete(ref),
        lambda: objects.ensure_bucket(bucket + "-2"),
    ]
    for write in writes:
        with pytest.raises(TwinlensError):
            await write()
    await objects.close()
    secret = minio_reader.secret_key.get_secret_value()
    client = Minio(minio_reader.endpoint, minio_reader.access_key, secret, secure=False)
    refused: list[Callable[[], Any]] = [
        lambda: client.put_object(bucket, "b", io.BytesIO(b"x"), 1),
        lambda: client.remove_object(bucket, "a/ü.jpg"),
        lambda: client.delete_bucket_notification(bucket),
        lambda: client.set_bucket_policy(bucket, "{}"),
        lambda: client.make_bucket("another-bucket"),
    ]
    for call in refused:
        with pytest.raises(S3Error) as error:
            call()
        assert error.value.code == "AccessDenied"
    assert s3.get_object(bucket, "a/ü.jpg").read() == b"data"


async def test_minio_writer_changes_objects_and_not_buckets(servers: Servers, bucket: str, s3: Minio) -> None:
    """What workers do: put, read, delete, and put back the bucket's rule; nothing else of buckets."""
    at = servers.need("minio")
    administrator = {"endpoint": at.s3, "access_key": at.access_key, "secret_key": at.secret_key, "buckets": [bucket]}
    name = f"writer-{bucket}"
    create_minio_user(ObjectSettings.model_validate(administrator), Access.WRITE, user=name, password=PASSWORD)
    try:
        arns = list(TEST_ROUTES[-1].arns)
        own = {**administrator, "access_key": name, "secret_key": PASSWORD, "notification_arns": arns}
        objects = S3Objects(ObjectSettings.model_validate(own))
        await objects.check(bucket)
        ref = ObjectRef(bucket, "a/ü.jpg")
        await objects.put(ref, b"data", content_type="image/png")
        assert [state.ref async for state in objects.list(bucket)] == [ref]
        await objects.delete(ref)
        assert await objects.ensure_announced(bucket)
        with pytest.raises(TwinlensError):
            await objects.ensure_bucket(bucket + "-2")
        await objects.close()
        client = Minio(at.s3, name, PASSWORD, secure=False)
        with pytest.raises(S3Error, match="AccessDenied"):
            client.set_bucket_policy(bucket, "{}")
        assert s3.bucket_exists(bucket)
    finally:
        remove_user(at, name)


@pytest.fixture
def guarded_milvus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Milvus of its own that asks for credentials."""
    monkeypatch.setenv("COMMON_SECURITY_AUTHORIZATIONENABLED", "true")
    port = free_port()
    server = milvus_server(tmp_path, tmp_path / "logs", port)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.kill()


def _vector() -> np.ndarray:
    vector = np.zeros(512, np.float32)
    vector[0] = 1
    return vector


async def _milvus_writer(administrator: VectorSettings) -> MilvusVectors:
    """Vectors under the writer's role, after everything that a worker does with them; one is left."""
    create_milvus_user(administrator, Access.WRITE, password=PASSWORD)
    token = f"{Access.WRITE.user}:{PASSWORD}"
    writer = MilvusVectors(VectorSettings.model_validate({"uri": administrator.uri, "token": token}))
    await writer.check()
    assert await writer.model_name() == "sscd"
    await writer.upsert([VectorEntry(number, "b", _vector()) for number in (1, 2)])
    await writer.delete([2])
    await writer.flush()
    [[hit]] = await writer.search([_vector()], limit=5, strong=True)
    assert hit.vector_id == 1
    assert set(await writer.get([1, 2])) == {1}
    assert await writer.count() == 1
    client = MilvusClient(uri=administrator.uri, token=token)
    refused: list[Callable[[], Any]] = [
        lambda: client.drop_collection("twinlens_sscd"),
        lambda: client.create_user("another", "password1"),
    ]
    for call in refused:
        with pytest.raises((MilvusException, RpcError), match=r"(?i)permission.?den"):
            call()
    client.close()
    return writer


async def _assert_shared(administrator: VectorSettings, reader: MilvusVectors, writer: MilvusVectors) -> None:
    """What the roles may do with our collection they may do with another model's, once that was shared with them."""
    root, other = MilvusVectors(administrator), "twinlens_other_0badcafe"
    await root.create(other, model_name="other@1", dimension=512)
    with pytest.raises(TwinlensError):
        await writer.of(other).upsert([VectorEntry(1, "b", _vector())])
    share_milvus_privileges(administrator, "twinlens_sscd", other)
    create_milvus_user(administrator, Access.WRITE, password=PASSWORD)
    await writer.of(other).upsert([VectorEntry(1, "b", _vector())])
    assert await reader.of(other).count() == 1
    with pytest.raises(TwinlensError):
        await reader.of(other).delete([1])
    await root.make_live(other)
    assert await reader.model_name() == "other@1"
    await root.close()


async def test_milvus_reader_searches_and_can_not_write(guarded_milvus: str) -> None:
    """Vectors can be searched, read and counted under the reader's role; every change is denied, and all of others.

    What an earlier version granted beyond that is taken back.
    """
    administrator = VectorSettings.model_validate({"uri": guarded_milvus, "token": "root:Milvus"})
    root = MilvusVectors(administrator)
    await root.ensure_collection(model_name="sscd", dimension=512)
    await root.close()
    of_another = MilvusClient(uri=guarded_milvus, token="root:Milvus")
    of_another.create_collection("private", dimension=4)
    of_another.create_role(Access.READ.user)
    of_another.grant_privilege(Access.READ.user, "Collection", "Query", "*")
    of_another.close()
    writer = await _milvus_writer(administrator)
    for password in (OLD_PASSWORD, PASSWORD, PASSWORD):
        create_milvus_user(administrator, Access.READ, password=password)
    with pytest.raises(MilvusException):
        MilvusClient(uri=guarded_milvus, token=f"{Access.READ.user}:{OLD_PASSWORD}")
    token = f"{Access.READ.user}:{PASSWORD}"
    reader = MilvusVectors(VectorSettings.model_validate({"uri": guarded_milvus, "token": token}))
    await reader.check()
    assert await reader.model_name() == "sscd"
    assert await reader.count() == 1
    [[hit]] = await reader.search([_vector()], limit=5, strong=True)
    assert hit.vector_id == 1
    assert set(await reader.get([1])) == {1}
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: reader.upsert([VectorEntry(2, "b", _vector())]),
        lambda: reader.delete([1]),
        reader.flush,
    ]
    for write in writes:
        with pytest.raises(TwinlensError):
            await write()
    client = MilvusClient(uri=guarded_milvus, token=token)
    refused: list[Callable[[], Any]] = [
        lambda: client.drop_collection("twinlens_sscd"),
        lambda: client.create_collection("mine", dimension=4),
        lambda: client.drop_alias("twinlens"),
        lambda: client.release_collection("twinlens_sscd"),
        lambda: client.query("private", filter="id >= 0"),
        lambda: client.create_user("another", "password1"),
    ]
    for call in refused:
        with pytest.raises((MilvusException, RpcError), match=r"(?i)permission.?den"):
            call()
    assert await writer.count() == 1
    client.close()
    await _assert_shared(administrator, reader, writer)
    await reader.close()
    await writer.close()


async def test_milvus_users_reach_views(guarded_milvus: str) -> None:
    """Who was made before there were views may use them once they are shared, and who is made afterwards likewise.

    Both are told which there are, also while there is none.
    """
    administrator = VectorSettings.model_validate({"uri": guarded_milvus, "token": "root:Milvus"})
    root = MilvusVectors(administrator)
    await root.ensure_collection(model_name="sscd", dimension=512)
    writer, reader = (_with_views(administrator, access) for access in (Access.WRITE, Access.READ))
    create_milvus_user(administrator, Access.WRITE, password=PASSWORD)
    assert await writer.layout() == "none"
    await VectorsWithViews(root, "quarters").ensure_collection(model_name="sscd", dimension=512)
    for name in view_collections("twinlens_sscd", "quarters"):
        share_milvus_privileges(administrator, "twinlens_sscd", name)
    create_milvus_user(administrator, Access.READ, password=PASSWORD)
    await writer.check()
    assert await writer.layout() == await reader.layout() == "quarters"
    await writer.upsert([VectorEntry(1, "b", -_vector(), [_vector()] * 4)])
    [[hit]] = await reader.search_all([_vector()], limit=5, strong=True)
    assert hit.vector_id == 1
    assert hit.cosine == pytest.approx(1, abs=1e-5)
    with pytest.raises(TwinlensError):
        await reader.delete([1])
    await writer.delete([1])
    assert await reader.known([1]) == set()
    await root.close()


def _with_views(administrator: VectorSettings, access: Access) -> VectorsWithViews:
    """The index as the user of a role sees it."""
    token = f"{access.user}:{PASSWORD}"
    return VectorsWithViews(MilvusVectors(VectorSettings.model_validate({"uri": administrator.uri, "token": token})))
