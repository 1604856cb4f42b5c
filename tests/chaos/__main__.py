"""`make chaos`: python -m tests.chaos [--seed N] [--kinds kill,hang] [--events lossy] and more."""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.operations import LINK_FAULTS, FaultKind, plan
from tests.chaos.run import ChaosRun, Events, Outcome
from tests.harness.stack.install import install
from tests.harness.stack.stack import DATABASES, OBJECT_STORES, servers_with

DEFAULT_KINDS = (FaultKind.KILL, FaultKind.HANG, *LINK_FAULTS)
"""Those that need neither root nor a package of the system."""
UNSAFE_WITHOUT_COMPARISON = ("objects",)
"""MinIO announces nothing in its first moment: only a comparison finds what was put then."""


def main() -> int:
    """Run, print, and say by the exit code whether anything differed: 0 only for nothing."""
    arguments = _arguments()
    install(*servers_with(arguments.database, arguments.objects))
    folder = Path(tempfile.mkdtemp(prefix="twinlens-chaos-"))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    say(f"seed {arguments.seed} on {arguments.database}; the logs are in {folder / 'logs'}")
    made = plan(
        arguments.seed,
        operations=arguments.operations,
        keys=arguments.keys,
        faults=arguments.faults,
        unannounced=arguments.unannounced,
        kinds=arguments.kinds,
        spared=UNSAFE_WITHOUT_COMPARISON if arguments.events is Events.ONCE else (),
        longest_s=arguments.longest,
    )
    outcome = ChaosRun(
        made, folder, say, database=arguments.database, objects=arguments.objects, events=arguments.events
    ).run()
    _show(outcome)
    report = json.dumps(outcome.as_json(), indent=2, ensure_ascii=False)
    print(report)
    if arguments.json:
        arguments.json.write_text(report + "\n", encoding="utf-8")
    if outcome.differences == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if outcome.differences == 0 else 1


def _show(outcome: Outcome) -> None:
    table = Table("", "", show_header=False, title=f"chaos run, seed {outcome.plan.seed}", title_justify="left")
    table.add_row("operations", f"{outcome.done.total():,}: {_counts(outcome.done)}")
    table.add_row("keys", f"{len({operation.key for operation in outcome.plan.operations}):,}")
    table.add_row("faults", f"{outcome.faults.total()}: {_counts(outcome.faults)}")
    table.add_row("differences after quiet", str(outcome.after_quiet.total))
    table.add_row("seconds until nothing differed", f"{outcome.quiet_seconds:.0f}")
    table.add_row("differences after unannounced changes", str(outcome.after_lost.total))
    table.add_row("differences after one reconcile", str(outcome.after_reconcile.total))
    table.add_row("compared", _counts(outcome.after_reconcile.compared))
    table.add_row("seconds in all", f"{outcome.seconds:.0f}")
    Console(stderr=True).print(table)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _kinds(text: str) -> tuple[FaultKind, ...]:
    return tuple(FaultKind) if text == "all" else tuple(FaultKind(name) for name in text.split(","))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="replays a run")
    parser.add_argument("--operations", type=int, default=2000)
    parser.add_argument("--keys", type=int, default=320)
    parser.add_argument("--faults", type=int, default=32, help="how many")
    parser.add_argument("--kinds", type=_kinds, default=DEFAULT_KINDS, help=f"all, or of {', '.join(FaultKind)}")
    parser.add_argument("--longest", type=float, default=40, help="seconds that a fault lasts at most")
    parser.add_argument("--events", type=Events, choices=list(Events), default=Events.ALL)
    parser.add_argument("--unannounced", type=int, default=120)
    parser.add_argument("--database", choices=DATABASES, default="mysql")
    parser.add_argument("--objects", choices=OBJECT_STORES, default="minio")
    parser.add_argument("--json", type=Path, help="write the report to this file, too")
    arguments = parser.parse_args()
    if arguments.objects == "versitygw" and arguments.events is not Events.ALL:
        parser.error("versitygw announces everything, and only once, whatever is asked of it")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
