"""What is written from the settings' descriptions."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from schemas.settings import setting_names
from schemas.settings_reference import ROOT, WRITTEN, Setting, config_yaml, sections, with_schema, with_tables

ROOMS = ("schemas", "imaging", "stores", "streams", "query_api", "ops")
SETTINGS = {one.name: one for _, _, settings in sections() for one in settings}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_from_the_settings_is_up_to_date(name: str) -> None:
    """Each file is as schemas/settings.py says."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert WRITTEN[name](text) == text, f"{name} is stale: run `make settings`"


def test_every_setting_is_described() -> None:
    """In whole sentences that fit into a table."""
    assert SETTINGS.keys() == setting_names()
    wrong = [name for name, one in SETTINGS.items() if not one.meaning.endswith(".") or "|" in one.meaning]
    assert wrong == []


def setting(description: str, **schema: Any) -> Setting:
    """A setting with this description."""
    return Setting("kafka", "acks", 1, {"description": description, **schema}, is_secret=False)


@pytest.mark.parametrize(
    ("one", "meaning"),
    [
        (setting("How many."), "How many."),
        (setting("How many.", minimum=4, maximum=1000), "How many. From 4 to 1,000."),
        (setting("How many.", minimum=6), "How many. At least 6."),
        (setting("The port.", minimum=0, maximum=65_535), "The port."),
        (setting("Which.", enum=["all", "one"]), "Which. One of `all`, `one`."),
        (setting("`all` waits, `one` does not.", enum=["all", "one"]), "`all` waits, `one` does not."),
    ],
)
def test_the_meaning_names_bounds_and_values(one: Setting, meaning: str) -> None:
    """Unless the description does, or everybody knows them."""
    assert one.meaning == meaning


def test_a_place_of_its_own_for_every_section() -> None:
    """A section that docs/configuration.md has no place for is not left out silently."""
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    with pytest.raises(KeyError, match="patrol"):
        with_tables(page.replace("<!-- settings: patrol -->", ""))


def test_every_other_variable_is_documented() -> None:
    """What the code names of the environment, besides settings and what only tests set, has a row, and nothing else."""
    code = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    named = {
        name
        for path in code
        for name in re.findall(r'"(TWINLENS_(?:[A-Z]+_)*[A-Z]+)"', path.read_text(encoding="utf-8"))
    }
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8").partition("## Other environment variables")[2]
    assert set(re.findall(r"`(TWINLENS_\w+)`", page)) == {name for name in named if "_TEST_" not in name}


def test_the_file_reads_as_text() -> None:
    """Links name their file, code has no marks, sizes are given in MiB, and no line is too long for a terminal."""
    text = config_yaml()
    assert "takes effect by `twinlens rebuild-index` (docs/configuration.md)." in text.replace("\n  #", "")
    assert "or the path of a spec file, see docs/models.md.\n" in text
    assert "max_object_bytes: 26214400  # 25 MiB\n" in text
    assert "max_decode_memory: 1073741824  # 1 GiB\n" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_the_chart_takes_no_secrets() -> None:
    """They would lie in a ConfigMap; a password has another way into a container."""
    text = (ROOT / "ops/helm/twinlens/values.schema.json").read_text(encoding="utf-8")
    config = json.loads(with_schema(text))["properties"]["config"]["properties"]
    taken = {f"{section}.{key}" for section, below in config.items() for key in below.get("properties", ())}
    secrets = {"database.url", "objects.access_key", "objects.secret_key", "vectors.token", "kafka.sasl_password"}
    assert setting_names() - taken == {"environment", *secrets}
