"""What verifying a new picture's neighbours costs the pipeline: backlogs with and without it, in turns.

    python -m bench.neighbours FOLDER [--json FILE]

starts an installation of its own. First the folder's photographs are put, a quarter at a time: most have no neighbours
near a copy's score, as in a bucket of different pictures. Then all are put again as other bytes, so that each has a
twin that has to be looked at: that is the worst case.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import objects, report
from bench.backlog import Drain, cpu_per_piece, drain, unattended
from bench.bench import Bench, Scale
from bench.figures import Figure, Result
from bench.installation import Choice, installed
from bench.photographs import Photographs
from schemas.settings import IndexSettings

_ROUNDS = (True, False, False, True)
"""With, without, without, with: what changes steadily meanwhile, such as the index's size, is shared fairly."""


def measure(bench: Bench) -> Result:
    """New pictures, and then twins of them."""
    figures = [*_of_kind(bench, "new"), *_of_kind(bench, "twins")]
    return Result("neighbours", figures)


def _of_kind(bench: Bench, kind: str) -> Iterator[Figure]:
    found: dict[bool, list[Drain]] = {True: [], False: []}
    count = len(bench.photographs.files) // len(_ROUNDS)
    for place, verifies in enumerate(_ROUNDS):
        bench.say(f"{kind}: {count} pictures, {'with' if verifies else 'without'} verifying")
        with bench.installation.verifying(IndexSettings().verify_nearest if verifies else 0):
            found[verifies].append(_backlog(bench, kind, range(place * count, (place + 1) * count)))
    with_it, without = (_per_second(found[verifies]) for verifies in (True, False))
    yield Figure(f"{kind}_verified", with_it, "pictures/s", without)
    yield Figure(f"{kind}_verified_of_usual", with_it / without, "")
    for verifies, drains in found.items():
        for each in drains:
            yield from cpu_per_piece(each.spent, each.total, f"{kind}, {'verified' if verifies else 'usual'}")


def _per_second(drains: Sequence[Drain]) -> float:
    """Of rounds of one size: the mean of their times counts."""
    return len(drains) / sum(1 / each.per_second for each in drains)


def _backlog(bench: Bench, kind: str, numbers: range) -> Drain:
    running = bench.installation.running
    already = running.catalog.indexed()
    with unattended(bench.installation, len(numbers)):
        keys = [f"{kind}/{number:06}" for number in numbers]
        data = bench.photographs.salted
        objects.put(running.s3, running.place.bucket, keys, lambda place: data(kind, numbers[place]))
    return drain(bench.installation, lambda: running.catalog.indexed() - already, len(numbers))


def main() -> None:
    """Start an installation, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="different photographs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as name, installed(Path(name), Choice()) as installation:
        console = report.terminal()
        result = measure(Bench(installation, Photographs.of_folder(options.folder), Scale(), console.print))
    report.show(console, [result], goals={})
    if options.json:
        options.json.write_text(json.dumps(report.as_json([result], goals={}), indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
