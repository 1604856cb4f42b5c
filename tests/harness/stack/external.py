"""Servers that somebody else runs, named by `TWINLENS_TEST_*` variables."""

from __future__ import annotations

import os
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from tests.harness.stack.stack import DATABASES, Addresses, ServerName

VARIABLES: dict[ServerName, str] = {
    "kafka": "TWINLENS_TEST_KAFKA",
    "minio": "TWINLENS_TEST_S3",
    "versitygw": "TWINLENS_TEST_S3",
    "mariadb": "TWINLENS_TEST_DATABASE",
    "mysql": "TWINLENS_TEST_DATABASE",
    "milvus": "TWINLENS_TEST_MILVUS",
}
"""`TWINLENS_TEST_KAFKA`: host:port. `TWINLENS_TEST_S3`: http://access_key:secret_key@host:port.
`TWINLENS_TEST_DATABASE`: SQLAlchemy URL of a server without a database name, its user may create databases; tests
for MariaDB and tests for MySQL both go there.
`TWINLENS_TEST_MILVUS`: URI."""


def named_servers() -> frozenset[ServerName]:
    """The servers that the environment names."""
    return frozenset(server for server, variable in VARIABLES.items() if os.environ.get(variable))


def with_named(addresses: Addresses) -> Addresses:
    """`addresses` with what the environment names in their place."""
    named = named_servers()
    if "kafka" in named:
        addresses = replace(addresses, kafka=os.environ[VARIABLES["kafka"]])
    if "minio" in named:
        url = urlsplit(os.environ[VARIABLES["minio"]])
        if not (url.hostname and url.username and url.password):
            raise ValueError(f"{VARIABLES['minio']} must look like http://access_key:secret_key@host:port")
        addresses = replace(
            addresses,
            s3=url.netloc.rpartition("@")[2],
            access_key=unquote(url.username),
            secret_key=unquote(url.password),
        )
    if named & {*DATABASES}:
        addresses = replace(addresses, database=os.environ[VARIABLES["mariadb"]].rstrip("/"))
    if "milvus" in named:
        addresses = replace(addresses, milvus=os.environ[VARIABLES["milvus"]])
    return addresses


def as_variables(addresses: Addresses) -> dict[str, str]:
    """The variables that would name these servers."""
    s3 = f"http://{addresses.access_key}:{addresses.secret_key}@{addresses.s3}"
    values: dict[ServerName, str] = {
        "kafka": addresses.kafka,
        "minio": s3,
        "versitygw": s3,
        "mariadb": addresses.database,
        "mysql": addresses.database,
        "milvus": addresses.milvus,
    }
    return {VARIABLES[server]: values[server] for server in VARIABLES}
