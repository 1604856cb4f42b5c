"""PUT to searchable on an idle stack: how long until a search by upload finds what was just put.

    python -m bench.freshness FOLDER [--count 50] [--json FILE]

by itself measures a running ``make stack``. The clock starts when the PUT is acknowledged, and a picture counts as
found when a plain search (without ``fresh``) gives its key from a copy with other bytes, so that the answer comes from
the vector index and not from the SHA-256.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from bench import report
from bench.bench import Bench
from bench.figures import Figure, Result, quantile
from bench.photographs import Photographs, salted
from bench.running import Running, wait
from ops.copies import TRANSFORMS

LOOK_S = 0.02
_AT_MOST_S = 60
_LIKELY = 50
"""The same picture may have been measured before, and its copies share the score: so many hits are looked through."""


def measure(bench: Bench) -> Result:
    """Seconds of so many PUTs. To a null model only the same pixels look alike."""
    bench.say(f"{bench.scale.puts} PUTs, one after the other")
    copy_of = TRANSFORMS["half-size"] if bench.null_model_ms is None else _same_pixels
    running, scale = bench.installation.running, bench.scale
    return freshness(running, bench.photographs, copy_of, count=scale.puts, idle_s=scale.idle_s)


def freshness(
    running: Running,
    photographs: Photographs,
    copy_of: Callable[[bytes], bytes],
    *,
    count: int,
    idle_s: float,
) -> Result:
    """The same on any installation; ``idle_s`` passes between a picture that was found and the next PUT."""
    seconds = []
    for number in range(count):
        copy = copy_of(photographs.file(number).read_bytes())
        seconds.append(_one(running, f"fresh-{photographs.run}/{number:06}", photographs.salted("fresh", number), copy))
        time.sleep(idle_s)
    figures = [
        Figure("median", quantile(seconds, 0.5), "s"),
        Figure("p99", quantile(seconds, 0.99), "s"),
        Figure("slowest", max(seconds), "s"),
    ]
    return Result("freshness", figures, {"seconds": [round(each, 3) for each in seconds]})


def _one(running: Running, key: str, data: bytes, copy: bytes) -> float:
    running.s3.put_object(running.place.bucket, key, BytesIO(data), len(data))
    acknowledged = time.perf_counter()

    def found() -> bool:
        return any(key in hit["keys"] for hit in running.search(copy, limit=_LIKELY))

    wait(found, f"a search finds {key}", every_s=LOOK_S, at_most_s=_AT_MOST_S)
    return time.perf_counter() - acknowledged


def _same_pixels(data: bytes) -> bytes:
    return salted(data, "searched")


def main() -> None:
    """Measure a running stack, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    running, photographs = Running.stack(), Photographs.of_folder(options.folder)
    result = freshness(running, photographs, TRANSFORMS["half-size"], count=options.count, idle_s=1.0)
    running.close()
    report.show(report.terminal(), [result], goals={})
    if options.json:
        options.json.write_text(json.dumps(report.as_json([result], goals={}), indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
