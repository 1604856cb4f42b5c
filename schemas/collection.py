"""The Milvus collection: names, fields and limits. The adapter in ``stores/vectors`` creates it."""

from __future__ import annotations

from typing import Final

ALIAS: Final = "twinlens"
ID_FIELD: Final = "id"
BUCKET_FIELD: Final = "bucket"
VECTOR_FIELD: Final = "vector"
BUCKET_MAX_LENGTH: Final = 63
METRIC: Final = "COSINE"
MAX_WINDOW: Final = 1000
"""``offset + limit`` of a search stays at or below this, as agreed with readers of the API."""


def collection_name(alias: str, model_id: str) -> str:
    """``<alias>_<model id>``; the alias names the live one."""
    return f"{alias}_{model_id}"


MAX_VECTOR_ID: Final = 2**63 - 2
"""The largest id. Milvus 2.3.5 leaves 2^63 - 1 out of range queries."""
