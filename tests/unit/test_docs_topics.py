"""docs/topics.md against the code: what others rely on is all in it, and its examples can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from schemas.contracts.documents import COMPATIBILITY, MESSAGES
from schemas.image_requests import RAW_HEADERS, ImageRequest
from schemas.messages import ImageChanged, Message, NearestImage, RequestOutcome
from schemas.records import METADATA_MAX_BYTES, ImageState, RequestResult
from schemas.settings import KafkaSettings, LimitSettings, setting_names
from schemas.similarity import Verdict

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "topics.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(found) for found in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]


def _fields(model: type[Message | NearestImage]) -> set[str]:
    return {info.alias or name for name, info in model.model_fields.items()}


@pytest.mark.parametrize("spec", KafkaSettings().topic_specs, ids=lambda spec: spec.name)
def test_every_topic_is_described(spec: object) -> None:
    """By its name, in the table."""
    assert f"| `{getattr(spec, 'name', '')}` |" in TEXT


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_every_message_is_named_with_its_fields(name: str) -> None:
    """In the text or in its example."""
    assert name in TEXT
    missing = {field for field in _fields(MESSAGES[name]) if f'"{field}"' not in TEXT and f"`{field}`" not in TEXT}
    assert not missing


@pytest.mark.parametrize("name", sorted({*RequestResult, *ImageState, *Verdict, *RAW_HEADERS, "put", "look"}))
def test_every_value_is_explained(name: str) -> None:
    """Outcomes, states, verdicts, operations and the headers of the raw form."""
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize(
    ("model", "field"), [(ImageRequest, "op"), (RequestOutcome, "outcome"), (ImageChanged, "nearest")]
)
def test_the_examples_are_messages(model: type[Message], field: str) -> None:
    """An example that shows a message has no field that the message does not have."""
    [example] = [example for example in EXAMPLES if field in example]
    assert set(example) <= _fields(model)
    for near in example.get("nearest", []):
        assert set(near) == _fields(NearestImage)


def test_the_limits_are_those_of_the_code() -> None:
    """Every setting that is named is one, and its default is right."""
    named = {name for name in re.findall(r"`([a-z]+\.[a-z_]+)`", TEXT) if name.split(".")[0] in {"kafka", "limits"}}
    assert named
    assert named <= setting_names()
    assert f"{KafkaSettings().max_message_bytes // 2**20} MiB" in TEXT
    assert f"{LimitSettings().max_object_bytes // 2**20} MiB" in TEXT
    assert f"{METADATA_MAX_BYTES:,} bytes" in TEXT


def test_the_compatibility_rules_are_those_of_the_contracts() -> None:
    """The first rule stands here word for word, as in the AsyncAPI document."""
    [rule, *_] = COMPATIBILITY.split(". Readers")
    assert " ".join(rule.split()) in " ".join(TEXT.split())


def test_every_example_is_there() -> None:
    """Links lead to files, and every file is linked."""
    linked = set(re.findall(r"\]\(examples/([^)]+)\)", TEXT))
    assert linked == {file.name for file in (DOCS / "examples").iterdir() if file.is_file()}
