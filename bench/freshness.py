"""PUT to searchable on an idle stack: how long until a search by upload finds what was just put.

    python -m bench.freshness FOLDER [--count 50] [--json FILE]

The clock starts when the PUT is acknowledged, and a picture counts as found when a plain search (without
``fresh``) gives its key from a JPEG copy, so that the answer comes from the vector index and not from the SHA-256.
"""

import argparse
import io
import json
import statistics
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track

from bench.running import Running, pictures, wait
from ops.copies import TRANSFORMS

console = Console()
IDLE_S = 1.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    running = Running.stack()
    seconds = [_one(running, file) for file in track(pictures(options.folder)[: options.count], console=console)]
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    figures = {
        "count": len(seconds),
        "median_s": round(statistics.median(seconds), 3),
        "p99_s": round(cuts[98], 3),
        "max_s": round(max(seconds), 3),
    }
    console.print_json(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def _one(running: Running, file: Path) -> float:
    """Seconds from the acknowledgement until a copy finds the key; a few bytes make the picture a new one."""
    stamp = time.time_ns()
    key = f"fresh-{stamp}/{file.name}"
    data = file.read_bytes() + str(stamp).encode()
    copy = TRANSFORMS["half-size"](file.read_bytes())
    running.s3.put_object(running.bucket, key, io.BytesIO(data), len(data))
    acknowledged = time.perf_counter()
    for _ in wait(lambda: _finds(running, copy, key), every=0.02, at_most=60):
        pass
    passed = time.perf_counter() - acknowledged
    time.sleep(IDLE_S)
    return passed


def _finds(running: Running, copy: bytes, key: str) -> bool:
    # The same picture may have been measured before: its copies share the score, so look a little further.
    return any(key in hit["keys"] for hit in running.search(copy, limit=50))


if __name__ == "__main__":
    main()
