"""A folder's way through a running stack: put by a plain client, indexed, found again from transformed copies.

python -m bench.pipeline FOLDER [--searched 100] [--json FILE]
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.running import Running, pictures, wait
from ops.copies import TRANSFORMS

console = Console()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--searched", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    running, files = Running.stack(), pictures(options.folder)
    prefix = f"bench-{time.time_ns()}/"
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda file: running.s3.fput_object(running.bucket, prefix + file.name, str(file)), files))
    put_s = time.perf_counter() - began
    with console.status("indexing"):
        for _ in wait(lambda: running.count(prefix=prefix, state="pending") == 0, every=0.5):
            pass
        for _ in wait(lambda: running.count(prefix=prefix) == len(files), every=0.5):
            pass
        for _ in wait(lambda: running.count(prefix=prefix, state="pending") == 0, every=0.5):
            pass
    indexed_s = time.perf_counter() - began
    recall = {name: _recall(running, files, prefix, name, options.searched) for name in TRANSFORMS}
    figures = {
        "pictures": len(files),
        "put_s": round(put_s, 1),
        "indexed_s": round(indexed_s, 1),
        "per_second": round(len(files) / indexed_s, 1),
        "states": {state: running.count(prefix=prefix, state=state) for state in ("indexed", "rejected", "pending")},
        "recall_at_1": recall,
    }
    table = Table(title=f"{len(files)} pictures: {figures['per_second']} a second")
    table.add_column("transform")
    table.add_column("original first", justify="right")
    for name, share in recall.items():
        table.add_row(name, f"{share:.1%}")
    console.print(table)
    console.print_json(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def _recall(running: Running, files: list[Path], prefix: str, transform: str, searched: int) -> float:
    step = max(1, len(files) // searched)
    sample = files[::step][:searched]
    found = 0
    for file in sample:
        results = running.search(TRANSFORMS[transform](file.read_bytes()), limit=1, prefix=prefix)
        found += bool(results) and file.name in {Path(key).name for key in results[0]["keys"]}
    return found / len(sample)


if __name__ == "__main__":
    main()
