"""Dashboard, scrape configuration and provisioning against the metrics, the ports and each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from schemas.settings import Settings
from tests.unit.promql import faults, instruments, samples, selectors

FOLDER = Path(__file__).parents[2] / "ops/observability"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana/dashboards/twinlens.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
WIDTH = 24
"""Columns of Grafana's grid."""


def expressions() -> Iterator[Any]:
    """Each query of the dashboard, with the panel that it is in."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield pytest.param(target["expr"], target["legendFormat"], id=f"{panel['title']}-{target['refId']}")
    for annotation in DASHBOARD["annotations"]["list"]:
        yield pytest.param(annotation["expr"], annotation["titleFormat"], id=annotation["name"])


def as_promql(expression: str) -> str:
    """An expression with Grafana's own variables replaced by what Grafana may put there."""
    return expression.replace("$__rate_interval", "1m")


def read(path: str) -> Any:
    """A YAML file below ops/observability."""
    return yaml.safe_load((FOLDER / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("expression", "legend"), [*expressions()])
def test_each_panel_reads_metrics_that_are_there(expression: str, legend: str) -> None:
    """Each series of the dashboard exists, with the labels that select, group and name it."""
    expression = as_promql(expression)
    assert faults(expression) == []
    [*read_series] = selectors(promql_parser.parse(expression))
    known = samples() | {"ALERTS": {"alertname"}}
    for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", legend):
        assert label in known[read_series[0].name]
        assert expression.startswith("ALERTS") or re.search(rf"by \([^)]*\b{label}\b", expression), "it is summed away"


@pytest.mark.parametrize(
    "wrong",
    [
        "sum(rate(twinlens_contentz_total[1m]))",
        'rate(twinlens_contents_total{result="indexed"}[1m])',
        "sum by (bucket) (rate(twinlens_contents_total[1m]))",
        "sum by (le) (rate(twinlens_stage_seconds[1m]))",
        "vector(1)",
    ],
)
def test_what_is_not_there_is_found(wrong: str) -> None:
    """An unknown metric, label, or label to group by, a histogram without its suffix, an expression of no series."""
    assert faults(wrong) != []


@pytest.mark.parametrize("wrong", ["sum(rate(twinlens_contents_total[1m])", "rate(twinlens_consumer_lag)"])
def test_what_is_no_promql_is_refused(wrong: str) -> None:
    """A missing bracket, and a rate of no range."""
    with pytest.raises(ValueError, match=r".+"):
        faults(wrong)


def test_every_metric_has_its_panel() -> None:
    """Nothing is measured that the dashboard does not show."""
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    names = {description.name for instrument in instruments() for description in instrument.describe()}
    assert [name for name in names if name not in shown] == []


def test_panels_are_laid_out() -> None:
    """Each panel has an id, a title and a description of its own, and a place that no other takes."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        taken |= cells
    assert all(panel["title"] and panel["description"] for panel in PANELS)


def test_panels_ask_the_chosen_source() -> None:
    """Whichever Prometheus is chosen above answers every panel."""
    chosen = "${datasource}"
    [variable] = DASHBOARD["templating"]["list"]
    assert f"${{{variable['name']}}}" == chosen
    sources = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    assert sources | {panel["datasource"]["uid"] for panel in PANELS} == {chosen}


def test_every_process_is_scraped_where_it_listens() -> None:
    """The scrape configuration knows each role's default port, under a job's name that the rules count on."""
    settings = Settings()
    ports = {
        "twinlens-ingest": settings.ingest.health_port,
        "twinlens-requests": settings.requests.health_port,
        "twinlens-index": settings.index.health_port,
        "twinlens-query": settings.api.port,
    }
    jobs = {job["job_name"]: job for job in read("prometheus.yml")["scrape_configs"]}
    assert {name: job["dns_sd_configs"][0]["port"] for name, job in jobs.items()} == ports
    assert {job.get("metrics_path", "/metrics") for job in jobs.values()} == {"/metrics"}


def test_grafana_is_provisioned() -> None:
    """One source, which is the default, and one folder of dashboards."""
    [source] = read("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["type"] == "prometheus"
    assert source["isDefault"] is True
    [provider] = read("grafana/provisioning/dashboards/twinlens.yml")["providers"]
    assert provider["type"] == "file"
