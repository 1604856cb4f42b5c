"""The environment that points Twinlens at a stack."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.harness.stack.minio import MAIN_ROUTE, EventRoute
from tests.harness.stack.stack import Addresses

ANNOUNCED_BY_SERVER = {"TWINLENS_OBJECTS__NOTIFICATION_ARNS": "[]"}
"""For a server that announces all changes of itself, or none, whatever the rules of its buckets."""


def twinlens_environment(
    addresses: Addresses,
    *,
    bucket: str,
    database_url: str,
    route: EventRoute = MAIN_ROUTE,
    alias: str = "twinlens",
    more: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The `TWINLENS_*` variables for these servers, with names of the caller's own on them."""
    return {
        "TWINLENS_KAFKA__BOOTSTRAP_SERVERS": addresses.kafka,
        "TWINLENS_KAFKA__TOPIC_PREFIX": route.topic_prefix,
        "TWINLENS_OBJECTS__BACKEND": "s3",
        "TWINLENS_OBJECTS__ENDPOINT": addresses.s3,
        "TWINLENS_OBJECTS__ACCESS_KEY": addresses.access_key,
        "TWINLENS_OBJECTS__SECRET_KEY": addresses.secret_key,
        "TWINLENS_OBJECTS__BUCKETS": json.dumps([bucket]),
        "TWINLENS_OBJECTS__NOTIFICATION_ARNS": json.dumps(route.arns),
        "TWINLENS_DATABASE__URL": database_url,
        "TWINLENS_VECTORS__URI": addresses.milvus,
        "TWINLENS_VECTORS__ALIAS": alias,
        **(more or {}),
    }
