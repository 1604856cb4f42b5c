"""The Milvus collection: names, fields and limits. The adapter in ``stores/vectors`` creates it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

ALIAS: Final = "twinlens"
ID_FIELD: Final = "id"
BUCKET_FIELD: Final = "bucket"
VECTOR_FIELD: Final = "vector"
BUCKET_MAX_LENGTH: Final = 63
METRIC: Final = "COSINE"
MODEL_PROPERTY: Final = "twinlens.model"
"""The collection's property that names the model; Milvus Lite keeps no description."""
MAX_WINDOW: Final = 1000
"""``offset + limit`` of a search stays at or below this, as agreed with readers of the API."""


def collection_name(alias: str, model_id: str) -> str:
    """``<alias>_<model id>``; the alias names the live one."""
    return f"{alias}_{model_id}"


ViewLayout = Literal["none", "quarters", "ninths"]
"""Which views of each content a collection has beside the whole."""
VIEWS: Final[Mapping[ViewLayout, int]] = {"none": 0, "quarters": 4, "ninths": 9}
"""How many views each layout has; where they lie is said in ``imaging.views``."""


def view_collections(collection: str, layout: ViewLayout) -> list[str]:
    """``<collection>_<layout>_1`` and so on: beside a collection there is one for each view of its contents."""
    return [f"{collection}_{layout}_{number}" for number in range(1, VIEWS[layout] + 1)]


def model_name(model_id: str, fingerprint: str) -> str:
    """``<model id>@<fingerprint>``: what vectors are marked with, so that those of two networks are never mixed.

    The fingerprint is that of the network's file and of what the spec makes of pictures.
    """
    return f"{model_id}@{fingerprint}"


def model_id_of(name: str) -> str:
    """The model's id within its name."""
    return name.partition("@")[0]


def model_mark(name: str, tag: str) -> str:
    """``<model name>#<tag>``: marks what a switch of models has stored, and no other switch to the same model."""
    return f"{name}#{tag}"


OTHER_FILE: Final = "its file or spec has changed; give the changed model an id of its own"
"""What to do where a model's fingerprint is not the one that the vectors are marked with."""


def is_same_model(recorded: str | None, in_use: str) -> bool:
    """Whether what was recorded names the model in use; a mere id is from before there were fingerprints.

    What a switch of models has stored counts like anything else of its model. But where ``in_use`` is the mark of a
    switch, only what that switch has stored counts.
    """
    if recorded is None or recorded == in_use:
        return recorded is not None
    return "#" not in in_use and recorded.partition("#")[0] in (in_use, model_id_of(in_use))


MAX_VECTOR_ID: Final = 2**63 - 2
"""The largest id. Milvus 2.3.5 leaves 2^63 - 1 out of range queries."""
