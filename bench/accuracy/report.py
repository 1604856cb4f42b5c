"""What was measured, for people and for programs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure as Drawing
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from bench.accuracy.corpus import Corpus
from bench.accuracy.measure import Figures
from bench.accuracy.searching import Outcome

_WORST = 12
_TILE = (320, 320)


def title(figures: Figures) -> str:
    """Which way of searching it was."""
    return f"{figures.method}, {figures.views}{', verified' if figures.verified else ''}"


def show(figures: Figures) -> None:
    """A line for each kind of searches."""
    table = Table(
        "searches", "how many", "recall@1", "recall@10", "called copy", "others called copy", title=title(figures)
    )
    for kind, one in figures.kinds.items():
        own = [f"{value:.3f}" for value in (one.recall_at_1, one.recall_at_10, one.copy)]
        table.add_row(kind, str(one.searches), *(own if one.recall_at_10 else ["", "", ""]), f"{one.other_copies:.3f}")
    Console(width=110).print(table)


def compare(found: Sequence[Figures]) -> None:
    """A line for each way of searching."""
    columns = ("", "recall@1", "copies", "hard copies", "false per 100", "micro-AP", "recall at 90 %", "threshold")
    table = Table(*columns, title="all")
    for one in found:
        shares = (one.recall_at_1, one.copies, one.hard_copies, one.false_copies)
        ranked = (one.precision.micro_ap, one.precision.recall_at_p90)
        table.add_row(title(one), *(f"{value:.3f}" for value in (*shares, *ranked)), str(one.threshold))
    Console(width=110).print(table)


def write(found: Sequence[Figures], folder: Path) -> None:
    """`accuracy.json` and `curves.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = json.dumps([asdict(one) for one in found], indent=1)
    (folder / "accuracy.json").write_text(written + "\n", encoding="utf-8")
    drawing = Drawing(figsize=(8, 5), layout="constrained")
    axes = drawing.add_subplot()
    for one in found:
        recalls, precisions = zip(*one.precision.curve, strict=True)
        axes.plot(recalls, precisions, label=title(one), linestyle="-" if one.verified else ":")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0.5, 1.01))
    axes.legend()
    drawing.savefig(folder / "curves.svg", metadata={"Date": None})


def save_misses(corpus: Corpus, figures: Figures, outcomes: Sequence[Outcome], folder: Path) -> None:
    """The query, what was to be found and what came first, side by side: of false copies, then of missed ones."""
    if not figures.verified:
        return
    false = [(each, hit) for each in outcomes for hit in each.hits if hit.is_copy and hit.reference != each.search.own]
    missed = [
        (each, each.hits[0])
        for each in outcomes
        if each.search.own is not None
        and not any(hit.is_copy and hit.reference == each.search.own for hit in each.hits)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for word, pairs in (("false", false), ("missed", missed)):
        for outcome, hit in pairs[:: max(1, len(pairs) // _WORST)][:_WORST]:
            search = outcome.search
            tiles = [corpus.query(search), corpus.reference(hit.reference)]
            if search.own is not None:
                tiles.insert(1, corpus.reference(search.own))
            name = f"{title(figures).replace(', ', '-')}-{word}-{search.kind}-{search.number}.jpg"
            _side_by_side(tiles).save(folder / name, "JPEG", quality=85)


def _side_by_side(files: Sequence[bytes]) -> Image.Image:
    row = Image.new("RGB", (_TILE[0] * len(files), _TILE[1]), "#808080")
    for place, data in enumerate(files):
        with Image.open(io.BytesIO(data)) as image:
            row.paste(ImageOps.contain(image.convert("RGB"), _TILE), (_TILE[0] * place, 0))
    return row
