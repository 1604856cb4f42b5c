"""The alert rules against the metrics that the processes really have, and the runbook against both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from query_api.metrics import Metrics
from streams import metrics as worker_metrics
from streams.converge_contents import ContentOutcome
from streams.converge_objects import ObjectOutcome
from streams.reconcile.drift import DriftKind

REPOSITORY = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = yaml.safe_load((REPOSITORY / "ops/alerts/twinlens.rules.yml").read_text())["groups"][0][
    "rules"
]
PAGE = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")
OF_PROMETHEUS = {"up": {"job", "instance"}}
OUTCOMES = {
    "twinlens_contents_total": {*ContentOutcome},
    "twinlens_objects_total": {*ObjectOutcome, "gave_up"},
    "twinlens_drift_total": {*DriftKind},
}


def instruments() -> list[MetricWrapperBase]:
    """Every metric of the workers and of the query service."""
    of_workers = [value for value in vars(worker_metrics).values() if isinstance(value, MetricWrapperBase)]
    of_api = [value for value in vars(Metrics()).values() if isinstance(value, MetricWrapperBase)]
    return of_workers + of_api


def samples() -> dict[str, set[str]]:
    """The labels of each sample by its name, as Prometheus stores them."""
    found: dict[str, set[str]] = {}
    for instrument in instruments():
        labels = set(instrument._labelnames)
        for description in instrument.describe():
            name = description.name
            if description.type == "counter":
                found[f"{name}_total"] = labels
            elif description.type == "histogram":
                found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
            else:
                found[name] = labels
    return found


def selectors(node: Any) -> Iterator[Any]:
    """All series selectors of a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for part in ("lhs", "rhs", "expr", "vector_selector"):
        child = getattr(node, part, None)
        if child is not None:
            yield from selectors(child)
    for argument in getattr(node, "args", None) or ():
        yield from selectors(argument)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_rule_reads_metrics_that_are_there(rule: dict[str, Any]) -> None:
    """Each series that a rule selects exists, with the labels and the label values that it is selected by."""
    known = samples() | OF_PROMETHEUS
    found = list(selectors(promql_parser.parse(rule["expr"])))
    assert found, "a rule without a series"
    for selector in found:
        assert selector.name in known, selector.name
        for matcher in selector.matchers.matchers:
            assert matcher.name in known[selector.name], f"{selector.name} has no label {matcher.name}"
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
    """Nothing on the page looks like a metric of ours without being one."""
    named = set(re.findall(r"`(twinlens_[a-z_]+)`", PAGE))
    known = samples()
    known_names = set(known) | {name.removesuffix("_bucket") for name in known}
    assert named - known_names == set()
