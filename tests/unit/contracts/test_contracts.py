"""The contract documents and the compatibility of saved messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import schemas.contracts
from schemas.contracts.documents import COMPATIBILITY, MESSAGES, documents
from schemas.errors import MalformedMessage
from schemas.image_requests import ImageRequest
from schemas.topics import Topics

FOLDER = Path(schemas.contracts.__file__).parent
SAVED = Path(__file__).parent / "saved"


@pytest.mark.parametrize("name", sorted(documents()))
def test_the_documents_are_up_to_date(name: str) -> None:
    """A change of a model shows in the documents: run ``python -m schemas.contracts``."""
    assert (FOLDER / name).read_text() == documents()[name]


def test_the_asyncapi_document_names_every_public_topic_and_resolves() -> None:
    """Every reference leads somewhere, and every topic for others is there."""
    document = json.loads(documents()["asyncapi.json"])
    topics = Topics()
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert {topics.image_requests, topics.request_outcomes, topics.image_changes} <= addresses
    for reference in _references(document):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    assert COMPATIBILITY in document["info"]["description"]


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []


@pytest.mark.parametrize("file", sorted(SAVED.glob("*.json")), ids=lambda file: file.stem)
def test_saved_messages_of_every_version_can_still_be_read(file: Path) -> None:
    """What was written once keeps its meaning: each field of a saved message reads as it was saved."""
    name = file.stem.split(".")[0]
    saved = json.loads(file.read_text())
    read = json.loads(MESSAGES[name].decode(file.read_bytes()).encode())
    assert _as_saved(read, saved) == saved


def _as_saved(read: Any, saved: Any) -> Any:
    """What was read, without the fields that were added since, at whatever depth."""
    if isinstance(saved, dict):
        return {field: _as_saved(read[field], value) for field, value in saved.items()}
    if isinstance(saved, list):
        return [_as_saved(*pair) for pair in zip(read, saved, strict=True)]
    return read


def test_there_is_a_saved_message_of_every_kind() -> None:
    """A new kind of message gets one before it is released."""
    assert {file.stem.split(".")[0] for file in SAVED.glob("*.json")} == set(MESSAGES)


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_unknown_fields_are_ignored_and_unknown_versions_refused(name: str) -> None:
    """So an older reader survives a newer writer of its version, and does not misread one of another."""
    [file, *_] = sorted(SAVED.glob(f"{name}.*.json"))
    message = json.loads(file.read_text())
    MESSAGES[name].decode(json.dumps({**message, "added_later": {"x": 1}}).encode())
    with pytest.raises(MalformedMessage, match="schema"):
        MESSAGES[name].decode(json.dumps({**message, "schema": 2}).encode())
    with pytest.raises(MalformedMessage, match="no value"):
        MESSAGES[name].decode(None)


def test_a_request_needs_no_more_than_an_id_a_key_and_a_source() -> None:
    """Everything else has a default, the version too."""
    request = ImageRequest.decode(b'{"request_id": "r", "key": "k", "content_base64": ""}')
    assert (request.op, request.bucket, request.metadata) == ("put", None, {})
