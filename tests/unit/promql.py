"""What expressions of Prometheus read, held against the metrics that the processes really have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser
from prometheus_client.metrics import MetricWrapperBase

from query_api.metrics import Metrics
from streams.common import metrics as worker_metrics

OF_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity"}}


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


def parts(node: Any) -> Iterator[Any]:
    """A parsed expression and all within it."""
    yield node
    for part in ("lhs", "rhs", "expr", "vector_selector"):
        child = getattr(node, part, None)
        if child is not None:
            yield from parts(child)
    for argument in getattr(node, "args", None) or ():
        yield from parts(argument)


def selectors(node: Any) -> Iterator[Any]:
    """All series selectors of a parsed expression."""
    return (part for part in parts(node) if isinstance(part, promql_parser.VectorSelector))


def faults(expression: str) -> list[str]:
    """What an expression reads that is not there: series, labels that they are selected by, labels they are grouped by.

    Raises ValueError for one that is no PromQL, or of which a function gets what it does not take.
    """
    known = samples() | OF_PROMETHEUS
    parsed = promql_parser.parse(expression)
    read = list(selectors(parsed))
    found = [] if read else ["an expression without a series"]
    found += [f"no metric is called {selector.name}" for selector in read if selector.name not in known]
    if found:
        return found
    found = [
        f"{selector.name} has no label {matcher.name}"
        for selector in read
        for matcher in selector.matchers.matchers
        if matcher.name not in known[selector.name]
    ]
    for part in parts(parsed):
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            there = set.intersection(*[known[selector.name] for selector in selectors(part.expr)])
            found += [f"{part} groups by {label}" for label in part.modifier.labels if label not in there]
    return found
