"""The alert rules against the metrics that the processes really have, and the runbook against both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from streams.index.converge_contents import ContentOutcome
from streams.ingest.converge_objects import ObjectOutcome
from streams.repair.drift import DriftKind
from tests.unit.promql import faults, instruments, samples, selectors

REPOSITORY = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = yaml.safe_load((REPOSITORY / "ops/alerts/twinlens.rules.yml").read_text())["groups"][0][
    "rules"
]
PAGE = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")
OUTCOMES = {
    "twinlens_contents_total": {*ContentOutcome},
    "twinlens_objects_total": {*ObjectOutcome, "gave_up"},
    "twinlens_drift_total": {*DriftKind},
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_rule_reads_metrics_that_are_there(rule: dict[str, Any]) -> None:
    """Each series that a rule selects exists, with the labels and the label values that it is selected by."""
    assert faults(rule["expr"]) == []
    for selector in selectors(promql_parser.parse(rule["expr"])):
        for matcher in selector.matchers.matchers:
            if selector.name in OUTCOMES:
                assert any(re.fullmatch(matcher.value, value) for value in OUTCOMES[selector.name]), matcher.value


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_rule_leads_to_its_page(rule: dict[str, Any]) -> None:
    """Each alert has a severity, a summary, and a section of its own in the runbook."""
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
    assert f"### {rule['alert']}\n" in PAGE


def test_every_metric_is_described() -> None:
    """The page names every metric of the workers and of the query service."""
    names = {description.name for instrument in instruments() for description in instrument.describe()}
    counters = {d.name for i in instruments() for d in i.describe() if d.type == "counter"}
    missing = [name for name in names if f"`{name}{'_total' if name in counters else ''}`" not in PAGE]
    assert missing == []
    assert REGISTRY is not None


def test_the_page_names_no_metric_that_is_not_there() -> None:
    """Nothing on the page looks like a metric of ours without being one; Compose calls networks and volumes so, too."""
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text(encoding="utf-8"))
    of_compose = {f"{compose['name']}_{name.replace('-', '_')}" for name in (*compose["networks"], *compose["volumes"])}
    named = set(re.findall(r"`(twinlens_[a-z_]+)`", PAGE))
    known = samples()
    known_names = set(known) | {name.removesuffix("_bucket") for name in known}
    assert named - known_names - of_compose == set()
