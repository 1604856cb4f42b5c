"""`make bench`: one run on real servers of its own, so that ratios hold: each figure beside its ceiling.

    make bench ARGS='--quick'                                  a smoke run of some two minutes
    make bench ARGS='--photos DIR --json FILE --plots DIR'     everything, on photographs of your own
    make bench ARGS='--only pipeline,duplicates'               these measurements alone
    make bench ARGS='--null-model 1'                           a sleep of 1 ms a picture in place of inference

`make bench SCALE=1000000` measures the vector index among many vectors instead: ``bench/scale.py``.
docs/benchmarks.md says what each figure means. By themselves run:

    python -m bench.accuracy FOLDER     recall of transformed copies, and what is rightly called a copy
    python -m bench.pipeline FOLDER     a folder's way through a running `make stack`, then recall over HTTP
    python -m bench.freshness FOLDER    PUT to searchable on a running `make stack`
    python -m bench.queries FOLDER      searches alone, among more pictures
    python -m bench.ceiling FOLDER      decode + embed alone
    python -m bench.decoding FOLDER     each format beside bare Pillow
    python -m bench.catalog             each query of the catalog among 20,000, 200,000 and 2,000,000 images
    python -m bench.predecessor FOLDER  decode and embed beside torch's ResNet50 (needs torch)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from bench import plots, proc, report
from bench.bench import QUICK, Bench, Scale
from bench.figures import Result, by_name
from bench.goals import goals
from bench.installation import Choice, installed
from bench.measurements import MEASUREMENTS
from bench.photographs import Photographs
from tests.harness.stack.install import InstallError, install
from tests.harness.stack.process import ServerError
from tests.harness.stack.stack import DATABASES, servers_with

_PAINTED = 120
_console = report.terminal()


def main() -> int:
    """The command; 1 with a message if a server is missing or doesn't start, or if the work stands still."""
    options = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _run(options)
    except (InstallError, ServerError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    """Measure, print, and write what was asked for."""
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as name:
        folder = Path(name)
        photographs = _photographs(options, folder)
        began, load = datetime.now(UTC), os.getloadavg()
        results = _measure(options, folder, photographs)
        wanted = goals(by_name(results), options.null_model)
        report.show(_console, results, wanted)
        if options.json:
            described = {
                "began": began.isoformat(timespec="seconds"),
                "machine": {"processor": proc.processor(), "cores": os.cpu_count(), "load_before": load[0]},
                "options": {option: str(value) for option, value in vars(options).items()},
                "results": report.as_json(results, wanted),
            }
            options.json.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        if options.plots:
            for path in plots.draw(results, options.plots):
                _console.print(f"drawn: {path}")


def _measure(options: argparse.Namespace, folder: Path, photographs: Photographs) -> list[Result]:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"bench: {time.monotonic() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    say("starting the servers (the first time, building MinIO takes some minutes)")
    install(*servers_with(options.database))
    choice = Choice(options.index_workers, options.null_model, options.database)
    results: list[Result] = []
    with installed(folder, choice) as installation:
        bench = Bench(installation, photographs, _scale(options), say)
        for name in options.only:
            say(name)
            results.append(MEASUREMENTS[name](bench))
        say("stopping the servers")
    return results


def _photographs(options: argparse.Namespace, folder: Path) -> Photographs:
    if options.photos is None:
        return Photographs.painted(folder / "gallery", _PAINTED)
    try:
        return Photographs.of_folder(options.photos)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else Scale()
    return dataclasses.replace(scale, pictures=options.pictures) if options.pictures else scale


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, metavar="DIR", help="pictures to put (default: painted ones)")
    parser.add_argument("--pictures", type=int, metavar="N", help="how many are put each time (800; 96 if --quick)")
    parser.add_argument(
        "--only", type=_names, default=list(MEASUREMENTS), metavar="NAME,…", help=", ".join(MEASUREMENTS)
    )
    parser.add_argument("--quick", action="store_true", help="little of everything: shows that it works, no more")
    parser.add_argument("--null-model", type=float, metavar="MS", help="milliseconds a picture in place of inference")
    parser.add_argument("--index-workers", type=int, default=1, metavar="N")
    parser.add_argument("--database", choices=DATABASES, default="mysql")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="also draw them there, as SVG")
    return parser.parse_args()


def _names(text: str) -> Sequence[str]:
    chosen = set(text.split(","))
    unknown = sorted(chosen - set(MEASUREMENTS))
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    return [name for name in MEASUREMENTS if name in chosen]


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
