"""`python -m bench.accuracy PHOTOS --out FOLDER`: tables, accuracy.json, curves, and the worst misses as pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from bench.accuracy import report
from bench.accuracy.cache import Cache
from bench.accuracy.corpus import Corpus, Half
from bench.accuracy.measure import Figures, Laboratory, all_figures
from bench.accuracy.methods import HASHES, model
from bench.accuracy.searching import Outcome
from bench.photographs import SUFFIXES
from schemas.collection import VIEWS

_MODULES = {"phash": "imagehash", "pdq": "pdqhash"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/accuracy"), help="also keeps what was computed")
    parser.add_argument("--models", default="sscd,sscd_distilled", help="built-in models' ids or spec files")
    parser.add_argument("--searched", type=int, default=100, help="photographs whose copies are searched for")
    parser.add_argument("--absent", type=int, default=200, help="photographs that are searched for and hidden")
    parser.add_argument("--negatives", type=int, default=20, help="hard negatives of each kind")
    parser.add_argument("--half", type=Half, default=Half.BOTH, choices=list(Half), help="photographs searched for")
    parser.add_argument(
        "--content-views", default="none", choices=[*VIEWS], help="views of the references, as by index.views"
    )
    parser.add_argument("--no-parts", action="store_true", help="leave out the views of queries, which take most time")
    parser.add_argument("--no-hashes", action="store_true", help="leave out perceptual hashes")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(files) < 2 * arguments.searched:
        parser.error(f"{arguments.photos} holds {len(files)} pictures: fewer than two for each that is searched for")
    corpus = Corpus(tuple(files), arguments.searched, arguments.absent, arguments.negatives, arguments.half)
    laboratory = Laboratory.of(corpus, Cache(arguments.out / "cache" / arguments.half))
    found: list[Figures] = []

    def told(figures: Figures, outcomes: Sequence[Outcome]) -> None:
        found.append(figures)
        report.show(figures)
        report.write(found, arguments.out)
        report.save_misses(corpus, figures, outcomes, arguments.out / "worst")

    for name in arguments.models.split(","):
        all_figures(laboratory, model(name, arguments.content_views), told, parts=not arguments.no_parts)
    for name, method in {} if arguments.no_hashes else HASHES.items():
        if find_spec(_MODULES[name]) is not None:
            all_figures(laboratory, method, told, parts=False)
    report.compare(found)


if __name__ == "__main__":
    main()
