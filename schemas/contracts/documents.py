"""Build the contract documents from the message models."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from schemas.image_requests import RAW_HEADERS, ImageRequest
from schemas.messages import VERSION, ContentChanged, ImageChanged, Message, RequestOutcome
from schemas.records import ANY_TYPE, REQUEST_ID
from schemas.topics import Topics

COMPATIBILITY = """\
Within a version, a field may be added if it has a default; no field is removed, renamed, retyped or given another
meaning, and no value is taken out of an enumeration that is sent. Readers ignore fields that they do not know and
refuse versions that they do not know: Twinlens puts such a message among the dead letters, or refuses the request.
A null value carries nothing: on the compacted topic it means that the key is gone."""

MESSAGES: dict[str, type[Message]] = {
    "ImageRequest": ImageRequest,
    "RequestOutcome": RequestOutcome,
    "ContentChanged": ContentChanged,
    "ImageChanged": ImageChanged,
}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one message as it is sent."""
    schema = MESSAGES[name].model_json_schema(by_alias=True, mode=_mode(name))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:twinlens:{name}:{VERSION}",
        **schema,
    }


def asyncapi(topics: Topics | None = None) -> dict[str, Any]:
    """The AsyncAPI 3.0 document: every topic, its key, its messages, and who sends and receives."""
    names = topics or Topics()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Twinlens topics",
            "version": f"{VERSION}.0.0",
            "description": f"What goes into Twinlens by Kafka, and what comes out.\n\n{COMPATIBILITY}",
        },
        "defaultContentType": "application/json",
        "channels": {
            "imageRequests": _channel(names.image_requests, "ImageRequest", "RawImageRequest"),
            "requestOutcomes": _channel(names.request_outcomes, "RequestOutcome"),
            "imageChanges": _channel(names.image_changes, "ImageChanged"),
            "contents": _channel(names.contents, "ContentChanged"),
        },
        "operations": {
            "takeImageRequests": _operation("receive", "imageRequests", "External producers ask for a put or a look."),
            "sendRequestOutcomes": _operation("send", "requestOutcomes", "Exactly one final outcome per request id."),
            "sendImageChanges": _operation("send", "imageChanges", "Snapshots; the last per key is the truth."),
            "sendContents": _operation("send", "contents", "Between the workers; no contract for others."),
        },
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    """The schemas of all messages and of what they hold, side by side, as AsyncAPI wants its references."""
    wanted = [(model, _mode(name)) for name, model in MESSAGES.items()]
    _, together = models_json_schema(wanted, by_alias=True, ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = together["$defs"]
    return schemas


def _mode(name: str) -> JsonSchemaMode:
    """What producers send is described as it is checked; what Twinlens sends, as it is sent: every field is there."""
    return "validation" if name == "ImageRequest" else "serialization"


def _channel(address: str, *messages: str) -> dict[str, Any]:
    return {"address": address, "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages}}


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _message(name: str, key: str) -> dict[str, Any]:
    return {
        "name": name,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": key}}},
    }


def _messages() -> dict[str, Any]:
    raw = {
        "name": "RawImageRequest",
        "summary": "The value is the file itself; the fields are in the headers.",
        "contentType": ANY_TYPE,
        "payload": {"type": "string", "format": "binary"},
        "headers": {
            "type": "object",
            "required": ["key", REQUEST_ID],
            "properties": {name: {"type": "string"} for name in sorted(RAW_HEADERS)},
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": "The producer's choice."}}},
    }
    return {
        "ImageRequest": _message("ImageRequest", "The producer's choice; one key keeps its requests in order."),
        "RawImageRequest": raw,
        "RequestOutcome": _message("RequestOutcome", "The request id."),
        "ContentChanged": _message("ContentChanged", "bucket/sha256"),
        "ImageChanged": _message("ImageChanged", "bucket/key"),
    }


def documents() -> dict[str, str]:
    """File name to text of every document."""
    files = {f"{name}.v{VERSION}.schema.json": json_schema(name) for name in MESSAGES}
    files["asyncapi.json"] = asyncapi()
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in files.items()}
