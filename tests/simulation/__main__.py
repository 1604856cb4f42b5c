"""Many runs: ``python -m tests.simulation --runs 100000 --seed 1``, or ``--bug NAME`` to see a planted bug found."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import nullcontext
from time import perf_counter

from tests.simulation.bugs import BUGS
from tests.simulation.run import NO_FOCUS, simulate


def main() -> int:
    """Run and report; 1 if a run ended wrongly."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="the first run's seed; the others follow")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this bug")
    parser.add_argument("--focus", choices=sorted(BUGS), help="the kind of runs in which this bug would show")
    wanted = parser.parse_args()
    handlers = BUGS[wanted.bug].planted() if wanted.bug else nullcontext()
    focus = BUGS[wanted.bug or wanted.focus].focus if wanted.bug or wanted.focus else NO_FOCUS
    failures: Counter[str] = Counter()
    began = perf_counter()
    with handlers:
        for seed in range(wanted.seed, wanted.seed + wanted.runs):
            found = simulate(seed, focus)
            if found is not None:
                kind = found[:60]
                if kind not in failures:
                    print(f"seed {seed}: {found}", flush=True)
                failures[kind] += 1
    print(
        f"{wanted.runs} runs from seed {wanted.seed} in {perf_counter() - began:.0f} s: {dict(failures) or 'all agree'}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
