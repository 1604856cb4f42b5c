"""The proof: each case says what was seen, and the first that isn't as it should be ends it with exit code 1."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.compose import keeping, running
from tests.compose.checks import ProofFailed
from tests.compose.elsewhere import servers_elsewhere
from tests.compose.images import provide_images
from tests.compose.stack import Stack, compose_command

CASES: dict[str, Callable[[Stack], str]] = {
    case.__name__: case
    for case in (
        running.from_nothing,
        running.end_to_end,
        running.page,
        running.least_privilege,
        running.image,
        running.scaled,
        running.monitored,
        running.behind_a_proxy,
        running.killed,
        keeping.down_and_up,
        keeping.wrong_secrets,
        keeping.rotated,
        keeping.restored,
        keeping.from_the_bucket_alone,
        keeping.upgraded,
        servers_elsewhere,
    )
}


def main() -> int:
    """Run the cases in their order on one installation; take it away at the end, unless it is to be kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--keep", action="store_true", help="leave the installation running")
    options = parser.parse_args()
    # What is missing is told at once, and not after the images were built.
    compose_command()
    with tempfile.TemporaryDirectory(prefix="twinlens-proof-") as folder:
        stack = Stack(Path(folder), provide_images())
        try:
            for name in options.cases:
                began = time.monotonic()
                print(f"{name}: {CASES[name](stack)} [{time.monotonic() - began:.0f} s]", flush=True)
                print("  memory:", ", ".join(f"{of} {used}" for of, used in sorted(stack.memory().items())), flush=True)
        except (ProofFailed, AssertionError) as error:
            print(f"{name}: FAILED: {error}", flush=True)
            return 1
        finally:
            if not options.keep:
                stack.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
