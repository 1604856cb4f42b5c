"""The Helm chart as it is written, against the settings, the image and the files that it takes along; without Helm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.settings import CONFIG_FILE_VARIABLE, PREFIX, Settings, setting_names

ROOT = Path(__file__).parents[2]
CHART = ROOT / "ops/helm/twinlens"
TEMPLATES = "\n".join(path.read_text(encoding="utf-8") for path in sorted((CHART / "templates").iterdir()))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
VALUE_FILES = [CHART / "values.yaml", *sorted((CHART / "ci").glob("*.yaml"))]
COMMANDS = {"TWINLENS_GRANTS_PASSWORD"}
"""Variables of single commands, which are no settings."""


def settings_in(config: dict[str, Any]) -> Iterator[str]:
    """The dotted names of the settings that a map of them sets."""
    for section, told in config.items():
        yield from (f"{section}.{key}" for key in told) if isinstance(told, dict) else [section]


@pytest.mark.parametrize("path", VALUE_FILES, ids=lambda path: path.name)
def test_every_setting_of_the_values_is_one(path: Path) -> None:
    """What stands below `config` is a setting, with a value that it takes."""
    config = yaml.safe_load(path.read_text(encoding="utf-8")).get("config", {})
    assert set(settings_in(config)) <= setting_names()
    login = {"sasl_username": "u", "sasl_password": "p"}
    Settings.model_validate({**config, "kafka": {**login, **config.get("kafka", {})}, "environment": "development"})


def test_every_variable_of_the_templates_is_a_setting() -> None:
    """No container is given a variable that Twinlens would not read."""
    whole = set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", TEMPLATES)) - COMMANDS - {CONFIG_FILE_VARIABLE}
    composed = {PREFIX + name for name in re.findall(r'"([A-Z]+__[A-Z_]+)"', TEMPLATES)}
    known = {PREFIX + name.replace(".", "__").upper() for name in setting_names()}
    assert {
        f"{PREFIX}DATABASE__URL",
        f"{PREFIX}KAFKA__SASL_PASSWORD",
        f"{PREFIX}KAFKA__SSL_CA_FILE",
    } <= whole | composed
    assert whole | composed <= known


def test_every_value_of_the_templates_is_there() -> None:
    """A template reads no value that values.yaml does not name."""
    for name in re.findall(r"\.Values\.([A-Za-z.]+)", TEMPLATES):
        value: Any = VALUES
        for part in name.split("."):
            if part == "config" or value is VALUES["config"]:
                break
            assert part in value, f".Values.{name}"
            value = value[part]


def test_the_schema_names_every_value() -> None:
    """A misspelt value is refused: each object of values.yaml is described, and closed."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def described(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        assert schema["additionalProperties"] is False, path
        for name, value in values.items():
            assert name in schema["properties"], f"{path}.{name}"
            below = schema["properties"][name]
            if isinstance(value, dict) and "properties" in below and name != "config":
                described(value, below, f"{path}.{name}")

    described(VALUES, schema, "values")


def test_workers_run_as_the_images_user() -> None:
    """The uid of the pods is that of the image, whose files it can read."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    user = VALUES["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in dockerfile


def test_rules_and_dashboard_are_those_of_the_repository() -> None:
    """The chart takes along the files that are tested against the metrics, not copies of them."""
    assert (CHART / "files/twinlens.rules.yml").resolve() == ROOT / "ops/alerts/twinlens.rules.yml"
    dashboard = ROOT / "ops/observability/grafana/dashboards/twinlens.json"
    assert (CHART / "files/dashboard.json").resolve() == dashboard


def test_no_secret_has_a_value() -> None:
    """Credentials come from secrets that are there; the chart makes none, and has none by default."""
    assert "kind: Secret" not in TEMPLATES
    assert set(VALUES["config"]["kafka"]) & {"sasl_username", "sasl_password"} == set()
    assert "database" not in VALUES["config"]
