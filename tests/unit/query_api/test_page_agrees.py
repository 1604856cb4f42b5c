"""What the page's JavaScript says again of the API: names that it takes and answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from imaging.changes import ChangeKind
from imaging.decoding import content_type_of
from imaging.sniffing import Format
from query_api.answers import Image
from query_api.app import create_app
from query_api.errors import RequestProblem
from query_api.pictures.verification import Unverified
from schemas.records import ImageState
from schemas.settings import Settings
from tests.harness.library import Library

PAGE = Path(__file__).parents[3] / "query_api/web/js"


def script(name: str) -> str:
    """A module of the page."""
    return (PAGE / name).read_text(encoding="utf-8")


def keys(name: str, constant: str) -> set[str]:
    """The keys of an object that a module holds in a constant."""
    body = re.search(rf"^const {constant} = .*?{{\n(.*?)^}}", script(name), re.DOTALL | re.MULTILINE)
    assert body, constant
    return set(re.findall(r"^  (\w+):", body[1], re.MULTILINE))


def strings(name: str, constant: str) -> list[str]:
    """All texts in a constant that is a list."""
    body = re.search(rf"const {constant} = (.*?);$", script(name), re.DOTALL | re.MULTILINE)
    assert body, constant
    return re.findall(r'"([^"]*)"', body[1])


@pytest.fixture
async def openapi() -> dict[str, Any]:
    """The API's description of itself."""
    library = Library()
    described = create_app(Settings(), library.ports).openapi()
    await library.close()
    return described


@pytest.mark.parametrize("constant", ["ADVICE", "TITLES"])
def test_the_page_has_words_for_problems_that_there_are(constant: str) -> None:
    """A code that the API gives up, or gives another name, would leave dead words behind."""
    assert keys("notice.js", constant) <= {kind.code for kind in RequestProblem.__subclasses__()}


def test_the_page_has_words_for_what_verifying_says() -> None:
    """For each change; and, of the reasons why nothing was verified, for such as the API gives."""
    assert keys("match.js", "WORDS") == set(ChangeKind)
    assert keys("match.js", "REASONS") <= set(Unverified)


def test_the_page_offers_every_type_of_picture() -> None:
    """By the media types that the catalog has."""
    offered = [text for text in strings("filters.js", "TYPES") if text.startswith("image/")]
    assert offered == [content_type_of(kind) for kind in get_args(Format)]


def test_the_page_offers_states_that_there_are() -> None:
    """All but those that are not listed."""
    field = re.search(r"state: {.*?\]\]", script("filters.js"), re.DOTALL)
    assert field
    assert set(re.findall(r'\["(\w+)"', field[0])) == set(ImageState) - {ImageState.REMOVED}


def test_the_page_filters_by_parameters_that_there_are(openapi: dict[str, Any]) -> None:
    """What it does not do itself."""

    def taken(path: str, method: str) -> set[str]:
        return {parameter["name"] for parameter in openapi["paths"][path][method]["parameters"]}

    common, local = strings("filters.js", "COMMON"), strings("ranking.js", "LOCAL")
    assert {*common, *strings("filters.js", "SEARCH_FILTERS")} - {*local} <= taken("/v1/search", "post")
    assert {*common, *strings("filters.js", "BROWSE_FILTERS")} <= taken("/v1/images", "get")


@pytest.mark.parametrize(
    ("typedef", "model"),
    [
        ("Image", "Image"),
        ("Hit", "SearchHit"),
        ("Verified", "VerifiedMatch"),
        ("CompareAnswer", "CompareAnswer"),
        ("Query", "QueryEcho"),
        ("Stats", "Stats"),
    ],
)
def test_the_page_reads_fields_that_there_are(typedef: str, model: str, openapi: dict[str, Any]) -> None:
    """Each property of a type of ``types.js`` is one of the answer, which may be null where the page's may."""
    read = properties(typedef)
    assert len(read) > 5
    answered = openapi["components"]["schemas"][model]["properties"]
    assert set(read) <= set(answered)
    nullable = {name for name, schema in answered.items() if {"type": "null"} in schema.get("anyOf", ())}
    wrong = [name for name, kind in read.items() if (name in nullable) != kind.endswith("| null")]
    assert wrong == []


def test_the_page_and_the_example_know_all_of_an_image() -> None:
    """A field that is added to an image is added to ``types.js``, and to the example that /docs shows."""
    schema = Image.model_json_schema()
    assert set(properties("Image")) == set(schema["properties"])
    assert set(schema["example"]) == set(schema["properties"])


def properties(typedef: str) -> dict[str, str]:
    """The properties of a type of ``types.js``, and their types."""
    block = re.search(rf"@typedef {{object}} {typedef}\n(.*?)\*/", script("types.js"), re.DOTALL)
    assert block
    return {name: kind for kind, name in re.findall(r"@property \{(.*?)\} (\w+)(?= |$)", block[1], re.MULTILINE)}


def test_the_page_asks_for_thumbnails_in_sizes_that_there_are(openapi: dict[str, Any]) -> None:
    """Of three, which are kept."""
    parameters = openapi["paths"]["/v1/images/{image_id}/thumbnail"]["get"]["parameters"]
    [size] = [parameter["schema"]["enum"] for parameter in parameters if parameter["name"] == "size"]
    named = re.search(r"@param \{([\d |]+)\} size", script("api.js"))
    assert named
    assert named[1].split(" | ") == size
