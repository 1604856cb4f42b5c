"""`python -m bench.accuracy.limits PHOTOS`: what each limit of verification costs and spares, on the half of the
photographs that limits are chosen on. The other half judges them (`bench.accuracy --half judging`).

One limit at a time is moved, the others stay. Copies are compared with their originals, whatever a search finds;
pictures that aren't there, and hard negatives, with the best five hits of the small model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.progress import track
from rich.table import Table

import imaging.comparing
import imaging.local_match
from bench.accuracy.cache import Cache
from bench.accuracy.corpus import ABSENT, Corpus, Half
from bench.accuracy.measure import VERIFIED, Laboratory
from bench.accuracy.methods import model
from bench.accuracy.searching import Candidate, Outcome
from bench.accuracy.transforms import HARD, TRANSFORMS
from bench.photographs import SUFFIXES
from imaging.local_features import CLOSE, QUICK, Closeness

_POINTS: Mapping[str, Sequence[float]] = {
    "COPY_INLIERS": (4, 6, 8, 10),
    "COPY_AGREEMENT": (0.4, 0.48, 0.56),
    "COPY_DRIFT": (0.1, 0.2, 0.4),
}
_PIXELS: Mapping[str, Sequence[float]] = {
    "SURE_DIFFERING": (0.2, 0.3, 0.4, 0.5),
    "COPY_DIFFERING": (0.01, 0.03, 0.05, 0.07, 0.09),
    "COPY_SHARE": (0, 0.15, 0.2, 0.25, 0.3, 0.4),
}
_SURE_SHARE: Mapping[Closeness, Sequence[float]] = {
    QUICK: (0.82, 0.86, 0.9, 0.94, 0.98),
    CLOSE: (0.65, 0.68, 0.71, 0.74, 0.77),
}


@dataclass(frozen=True, slots=True)
class Row:
    """Shares of the copies that are called so (of the hard two apart), and other pictures called copies per 100
    searches.
    """

    limit: str
    value: float
    in_use: bool
    copies: float
    hard_copies: float
    false_of_absent: float
    false_of_hard_negatives: float


def rows(laboratory: Laboratory, pairs: Sequence[Outcome]) -> Iterator[Row]:
    """What becomes of these pairs with each value of each limit."""
    for name, value, in_use, changed in track(list(_changes()), console=Console(stderr=True)):
        with changed:
            yield _row(name, value, laboratory.verify(pairs, 0.0), in_use=in_use)


def _changes() -> Iterator[tuple[str, float, bool, AbstractContextManager[object]]]:
    """Each value of each limit: its name, the value, whether it is in use, and what sets it for a block."""
    for module, limits in ((imaging.local_match, _POINTS), (imaging.comparing, _PIXELS)):
        for name, values in limits.items():
            for value in values:
                yield name, value, value == getattr(module, name), patch.object(module, name, value)
    shares = imaging.comparing.SURE_SHARE
    for look, values in _SURE_SHARE.items():
        for value in values:
            name = f"SURE_SHARE at {look.side} pixels"
            changed = patch.object(imaging.comparing, "SURE_SHARE", {**shares, look: value})
            yield name, value, value == shares[look], changed


def _row(name: str, value: float, found: Sequence[Outcome], *, in_use: bool) -> Row:
    kinds = {kind: list(each) for kind, each in groupby(found, key=lambda outcome: outcome.search.kind)}

    def called(names: Sequence[str]) -> float:
        """Copies a search."""
        outcomes = [outcome for kind in names for outcome in kinds[kind]]
        return sum(hit.is_copy for outcome in outcomes for hit in outcome.hits) / len(outcomes)

    usual, negatives = TRANSFORMS.keys() - HARD, kinds.keys() - TRANSFORMS.keys() - {ABSENT}
    return Row(
        name, value, in_use, called([*usual]), called([*HARD]), 100 * called([ABSENT]), 100 * called([*negatives])
    )


def compared_pairs(laboratory: Laboratory) -> list[Outcome]:
    """Of each search what it is compared with."""
    small = model("sscd_distilled")
    found = laboratory.outcomes(small, laboratory.queries(small, parts=False), "whole")
    return [
        Outcome(each.search, each.hits[:VERIFIED] if each.search.own is None else (Candidate(each.search.own, 0.0),))
        for each in found
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/accuracy"))
    parser.add_argument("--searched", type=int, default=40)
    parser.add_argument("--absent", type=int, default=300)
    parser.add_argument("--negatives", type=int, default=20)
    options = parser.parse_args()
    files = sorted(path for path in options.photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    corpus = Corpus(tuple(files), options.searched, options.absent, options.negatives, Half.CHOOSING)
    laboratory = Laboratory.of(corpus, Cache(options.out / "cache" / Half.CHOOSING))
    found = list(rows(laboratory, compared_pairs(laboratory)))
    table = Table("limit", "value", "copies", "hard copies", "absent: false per 100", "hard negatives: per 100")
    for row in found:
        shares = (row.copies, row.hard_copies, row.false_of_absent, row.false_of_hard_negatives)
        table.add_row(row.limit, f"{row.value:g}{' *' if row.in_use else ''}", *(f"{share:.3f}" for share in shares))
    Console(width=120).print(table)
    (options.out / "limits.json").write_text(json.dumps([asdict(row) for row in found], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
