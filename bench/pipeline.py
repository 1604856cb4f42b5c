"""A picture's way in: put while the workers run, and worked off from a backlog, each beside decode + embed alone.

    python -m bench.pipeline FOLDER [--searched 100] [--json FILE]

by itself puts a folder into a running ``make stack``, and then also measures how many of the pictures are found again
from transformed copies.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import objects, report
from bench.backlog import Drain, cpu_per_piece, drain, per_piece, unattended, watched
from bench.bench import STOCK, Bench
from bench.ceiling import Ceiling
from bench.figures import Figure, Result
from bench.photographs import Photographs
from bench.running import Running, Spent
from ops.copies import TRANSFORMS

BACKLOG = "backlog"


def measure(bench: Bench) -> Result:
    """Both ways, between two looks at the ceiling."""
    installation, photographs = bench.installation, bench.photographs
    keys = [f"{STOCK}/{len(bench.stock) + number:06}" for number in range(bench.scale.pictures)]
    before = bench.ceiling()
    bench.say(f"putting {len(keys)} pictures while the workers run")
    steady = while_running(installation.running, photographs, keys, STOCK, len(bench.stock))
    bench.stock += keys
    bench.say(f"putting {len(keys)} pictures while no ingest worker runs")
    put, backlog = _from_backlog(bench)
    after = bench.ceiling()
    ceiling = Ceiling(0, (before.per_second + after.per_second) / 2, (before.cpu_ms + after.cpu_ms) / 2)
    figures = [
        Figure("running", _rate(steady), "pictures/s", ceiling.per_second),
        Figure("backlog", backlog.per_second, "pictures/s", ceiling.per_second),
        Figure("backlog_of_ceiling", backlog.per_second / ceiling.per_second, ""),
        Figure("backlog_idle", backlog.spent_in_backlog.idle, "of the cores"),
        Figure("backlog_others", backlog.spent_in_backlog.others, "of the cores"),
        Figure("ceiling_before", before.per_second, "pictures/s"),
        Figure("ceiling_after", after.per_second, "pictures/s"),
        Figure("ceiling_cpu", ceiling.cpu_ms, "ms a picture"),
        *_sums(bench, backlog, put, ceiling),
        *per_piece(backlog, "picture"),
        *per_piece(steady, "picture put meanwhile"),
        *cpu_per_piece(put, len(keys), "PUT"),
    ]
    return Result("pipeline", figures, backlog.series)


def while_running(running: Running, photographs: Photographs, keys: Sequence[str], series: str, first: int) -> Drain:
    """Put the pictures from ``first`` on while the workers run; what was used counts from the first PUT on."""
    already, begun = running.catalog.indexed(), running.usage()

    def put() -> None:
        data = photographs.salted
        objects.put(running.s3, running.place.bucket, keys, lambda position: data(series, first + position))

    with ThreadPoolExecutor(1) as pool:
        counted = running.counts()
        putting = pool.submit(put)
        found = watched(running, lambda: running.catalog.indexed() - already, len(keys), counted)
        putting.result()
    return dataclasses.replace(found, begun=begun)


def _from_backlog(bench: Bench) -> tuple[Spent, Drain]:
    """What the PUTs took, and then the work on them."""
    installation, running = bench.installation, bench.installation.running
    keys = [f"{BACKLOG}/{number:06}" for number in range(bench.scale.pictures)]
    already = running.catalog.indexed()
    with unattended(installation, len(keys)):
        before = running.usage()
        objects.put(running.s3, running.place.bucket, keys, lambda number: bench.photographs.salted(BACKLOG, number))
    put = Spent.between(before, running.usage())
    found = drain(installation, lambda: running.catalog.indexed() - already, len(keys))
    bench.spare += keys
    return put, found


def _rate(steady: Drain) -> float:
    return steady.total / (steady.last.at - steady.begun.at)


def _sums(bench: Bench, backlog: Drain, put: Spent, ceiling: Ceiling) -> Iterator[Figure]:
    """The workers' CPU without decode + embed, and the servers' for the PUT and for the work on it."""
    cpu, total = backlog.spent.cpu_s, backlog.total
    workers = 1000 * sum(cpu[name] for name in bench.installation.workers) / total
    servers = 1000 * sum(cpu[name] + put.cpu_s[name] for name in bench.installation.servers) / total
    yield Figure("workers", workers, "ms a picture", ceiling.cpu_ms)
    yield Figure("workers_beyond_ceiling", workers - ceiling.cpu_ms, "ms a picture")
    yield Figure("servers", servers, "ms a picture")


def main() -> None:
    """Put a folder into a running stack, and search it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--searched", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    running, photographs = Running.stack(), Photographs.of_folder(options.folder)
    prefix = f"bench-{time.time_ns()}/"
    keys = [prefix + file.name for file in photographs.files]
    steady = while_running(running, photographs, keys, prefix, 0)
    recall = [
        Figure(f"recall_{name}", _recall(running, photographs, prefix, name, options.searched), "found first")
        for name in TRANSFORMS
    ]
    rate = Figure("running", _rate(steady), "pictures/s")
    result = Result("pipeline", [rate, *per_piece(steady, "picture"), *recall], steady.series)
    running.close()
    report.show(report.terminal(), [result], goals={})
    if options.json:
        options.json.write_text(json.dumps(report.as_json([result], goals={}), indent=2), encoding="utf-8")


def _recall(running: Running, photographs: Photographs, prefix: str, transform: str, searched: int) -> float:
    step = max(1, len(photographs.files) // searched)
    sample = photographs.files[::step][:searched]
    found = 0
    for file in sample:
        results = running.search(TRANSFORMS[transform](file.read_bytes()), limit=1, prefix=prefix)
        found += bool(results) and file.name in {Path(key).name for key in results[0]["keys"]}
    return found / len(sample)


if __name__ == "__main__":
    main()
