"""A run's figures as SVG files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from bench.figures import Figure, Result, by_name

_SIZE = (8, 4)
_RATES = (
    ("pipeline.running", "put meanwhile"),
    ("pipeline.backlog", "backlog"),
    ("queries.upload_best", "search by upload"),
)


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """Draw what the results allow into the folder (made if it isn't there); returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    plots: Mapping[str, Callable[[Sequence[Result], Axes], bool]] = {
        "rates": _rates,
        "cpu": _cpu,
        "backlogs": _backlogs,
        "freshness": _freshness,
        "queries": _queries,
    }
    return [path for name, plot in plots.items() if (path := _drawn(plot, results, folder / f"{name}.svg"))]


def _drawn(plot: Callable[[Sequence[Result], Axes], bool], results: Sequence[Result], path: Path) -> Path | None:
    """``plot`` draws on the axes and tells whether there was anything to draw."""
    drawing = Drawing(figsize=_SIZE, layout="constrained")
    if not plot(results, drawing.add_subplot()):
        return None
    # Without a date, the same figures give the same file.
    drawing.savefig(path, metadata={"Date": None})
    return path


def _rates(results: Sequence[Result], axes: Axes) -> bool:
    """Pictures a second, each beside the ceiling of its minutes."""
    found = by_name(results)
    bars = [(label, found[name]) for name, label in _RATES if name in found]
    if not bars:
        return False
    labels = [label for label, _ in bars]
    axes.barh(labels, [figure.ceiling or 0 for _, figure in bars], color="0.85", label="decode + embed alone")
    axes.barh(labels, [figure.value for _, figure in bars], height=0.5, label="measured")
    axes.invert_yaxis()
    axes.set_xlabel("pictures a second")
    axes.legend()
    return True


def _cpu(results: Sequence[Result], axes: Axes) -> bool:
    """CPU of one piece by process, for each kind of work on a backlog."""
    details = [
        figure for result in results if result.measurement != "queries" for figure in result.figures if figure.of
    ]
    cpu = [figure for figure in details if figure.name.startswith("cpu ")]
    if not cpu:
        return False
    pieces = list(dict.fromkeys(figure.of for figure in cpu))
    left = dict.fromkeys(pieces, 0.0)
    for name in dict.fromkeys(figure.name for figure in cpu):
        spent = {figure.of: figure.value for figure in cpu if figure.name == name}
        widths = [spent.get(piece, 0.0) for piece in pieces]
        axes.barh(pieces, widths, left=list(left.values()), label=name.removeprefix("cpu "))
        left = {piece: left[piece] + width for piece, width in zip(pieces, widths, strict=True)}
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds of CPU")
    axes.legend(ncols=2)
    return True


def _backlogs(results: Sequence[Result], axes: Axes) -> bool:
    """How much of each backlog was done when."""
    drained = [result for result in results if "done" in result.series]
    if not drained:
        return False
    for result in drained:
        done = result.series["done"]
        axes.plot(result.series["seconds"], [each / max(done) for each in done], label=result.measurement)
    axes.set_xlabel("seconds since the work began")
    axes.set_ylabel("share done")
    axes.legend()
    return True


def _freshness(results: Sequence[Result], axes: Axes) -> bool:
    """From the acknowledged PUT until a search found the picture."""
    seconds = [each for result in results if result.measurement == "freshness" for each in result.series["seconds"]]
    if not seconds:
        return False
    axes.ecdf(seconds)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds from PUT to searchable")
    axes.set_ylabel("share of the pictures")
    return True


def _queries(results: Sequence[Result], axes: Axes) -> bool:
    """Answers a second by the number of clients."""
    rates = [figure for figure in _of_queries(results) if figure.name == "answers a second"]
    counted = [figure for figure in rates if figure.of.rpartition(", ")[2].isdigit()]
    if not counted:
        return False
    for kind in dict.fromkeys(figure.of.partition(",")[0] for figure in counted):
        points = [
            (int(figure.of.rpartition(", ")[2]), figure.value) for figure in counted if figure.of.startswith(kind)
        ]
        axes.plot([str(clients) for clients, _ in points], [rate for _, rate in points], marker="o", label=kind)
    axes.set_xlabel("clients")
    axes.set_ylabel("answers a second")
    axes.set_ylim(bottom=0)
    axes.legend()
    return True


def _of_queries(results: Iterable[Result]) -> list[Figure]:
    return [figure for result in results if result.measurement == "queries" for figure in result.figures if figure.of]
