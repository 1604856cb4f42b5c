"""The query service as a process of its own, on real servers, with credentials that can only read."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from imaging.embedding import OnnxEmbedder
from imaging.model_spec import load_spec
from ops.gallery import make_gallery
from ops.grants import create_minio_user
from ops.privileges import Access, mysql_statements
from schemas.settings import DatabaseSettings, ObjectSettings, VectorSettings
from stores.catalog.engine import create_engine
from stores.objects.s3 import S3Objects
from stores.vectors.milvus import MilvusVectors
from tests.harness.library import IndexWriter
from tests.harness.stack.cleanup import drop_collections, in_own_loop, remove_bucket, remove_user, run_sql, s3_client
from tests.harness.stack.health import answers_ok
from tests.harness.stack.process import Command, ServerProcess, free_port
from tests.harness.stack.stack import Addresses

PASSWORD = "only-for-these-tests"
_LONG = "/".join([letter * 200 for letter in "xyzw"] + ["v" * 92 + ".jpg"])
"""900 bytes, which MinIO takes only in segments of at most 255."""
ODD_KEYS = ("a b/c+d.jpg", "100%.jpg", "ü/ß.png", "😀.png", _LONG)


@dataclass(frozen=True)
class Installation:
    """An indexed bucket. ``pictures``: bytes by key. ``environment`` lets a query service read it, and only that."""

    environment: Mapping[str, str]
    bucket: str
    pictures: Mapping[str, bytes]
    duplicate: tuple[str, str]


@contextmanager
def installation(at: Addresses, pictures: Mapping[str, bytes], *, model: str = "sscd") -> Iterator[Installation]:
    """Pictures (bytes by key), indexed with this model on MinIO, MariaDB and Milvus, and all taken away afterwards.

    The first picture lies under a second key too; one object more was rejected.
    """
    name = f"t{secrets.token_hex(6)}"
    in_own_loop(run_sql(at.database, f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    s3_client(at).make_bucket(name)
    administrator = {"endpoint": at.s3, "access_key": at.access_key, "secret_key": at.secret_key, "buckets": [name]}
    try:
        create_minio_user(ObjectSettings.model_validate(administrator), Access.READ, user=name, password=PASSWORD)
        in_own_loop(_index(at, name, pictures, model))
        yield Installation(
            {**_environment(at, name), "TWINLENS_MODEL__SPEC": model},
            name,
            pictures,
            ("copies/one.jpg", next(iter(pictures))),
        )
    finally:
        remove_user(at, name)
        remove_bucket(s3_client(at), name)
        in_own_loop(run_sql(at.database, f"DROP USER IF EXISTS '{name}'@'%'"))
        in_own_loop(run_sql(at.database, f"DROP DATABASE {name}"))
        drop_collections(at.milvus, name)


def painted(folder: Path, count: int) -> dict[str, bytes]:
    """Pictures of our own, some under keys that are not easy."""
    paths = make_gallery(folder, count=count)
    keys = [*ODD_KEYS, *[path.name for path in paths]]
    return {key: path.read_bytes() for key, path in zip(keys, paths, strict=False)}


async def _index(at: Addresses, name: str, pictures: Mapping[str, bytes], model: str) -> None:
    url = at.database_url(name)
    engine = create_engine(DatabaseSettings.model_validate({"url": url}))
    objects = S3Objects(
        ObjectSettings.model_validate(
            {"endpoint": at.s3, "access_key": at.access_key, "secret_key": at.secret_key, "buckets": [name]}
        )
    )
    vectors = MilvusVectors(VectorSettings.model_validate({"uri": at.milvus, "alias": name}))
    embedder = OnnxEmbedder(load_spec(model), threads=2)
    await vectors.ensure_collection(model_name=embedder.model_name, dimension=embedder.dimension)
    writer = IndexWriter(engine, objects, vectors, embedder, name)
    await writer.open()
    for key, data in pictures.items():
        await writer.add(key, data, external_id=f"id {key}"[:200])
    await writer.add("copies/one.jpg", next(iter(pictures.values())))
    await writer.reject_object("too-large.jpg", b"x", "too_many_bytes")
    await writer.close()
    administrator = create_async_engine(url)
    async with administrator.begin() as connection:
        for statement in mysql_statements(name, user=name, password=PASSWORD):
            await connection.execute(text(statement))
    await administrator.dispose()
    await vectors.close()
    await objects.close()


def _environment(at: Addresses, name: str) -> dict[str, str]:
    database = make_url(at.database_url(name)).set(username=name, password=PASSWORD)
    return {
        "TWINLENS_OBJECTS__ENDPOINT": at.s3,
        "TWINLENS_OBJECTS__ACCESS_KEY": name,
        "TWINLENS_OBJECTS__SECRET_KEY": PASSWORD,
        "TWINLENS_OBJECTS__BUCKETS": f'["{name}"]',
        "TWINLENS_DATABASE__URL": database.render_as_string(hide_password=False),
        "TWINLENS_VECTORS__URI": at.milvus,
        "TWINLENS_VECTORS__ALIAS": name,
    }


class Service:
    """A running query service; ``client`` calls it."""

    def __init__(self, url: str, process: ServerProcess) -> None:
        self.url = url
        self.process = process
        self.client = httpx.Client(base_url=url, timeout=60)

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def resident_bytes(self) -> int:
        """Memory that the process holds now."""
        return self.process.memory("VmRSS")

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


@contextmanager
def service(environment: Mapping[str, str], logs: Path, *, wait_for: str = "/readyz") -> Iterator[Service]:
    """`twinlens api` under this environment, once ``wait_for`` answers 200."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = ServerProcess(
        "api",
        Command(
            [str(Path(sys.executable).with_name("twinlens")), "api"],
            {**environment, "TWINLENS_API__PORT": str(port), "TWINLENS_LOG__FORMAT": "json"},
        ),
        log=logs / "api.log",
        is_ready=lambda: answers_ok(url + wait_for),
    )
    process.start()
    running = Service(url, process)
    try:
        yield running
    finally:
        running.client.close()
        process.stop()
