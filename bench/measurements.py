"""Which measurements there are, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench import backlogs, decoding, freshness, outages, pipeline, queries
from bench.bench import Bench
from bench.figures import Figure, Result

type Measurement = Callable[[Bench], Result]


def memory(bench: Bench) -> Result:
    """The most that each process of Twinlens has held since the run began."""
    running = bench.installation.running
    running.note_peaks()
    names = [*bench.installation.workers, "api"]
    return Result("memory", [Figure(name, running.peaks[name] / 2**20, "MiB") for name in names])


MEASUREMENTS: Mapping[str, Measurement] = {
    "pipeline": pipeline.measure,
    "freshness": freshness.measure,
    "duplicates": backlogs.duplicates,
    "announcements": backlogs.announcements,
    "queries": queries.measure,
    "deletes": backlogs.deletes,
    "outages": outages.measure,
    "memory": memory,
    "decoding": decoding.measure,
}
"""Those that need pictures in the index use what an earlier one left there, and put them otherwise."""
