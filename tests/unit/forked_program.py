"""What `test_forking` has forked: says what it finds itself to be, and ends as it is told."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path


def _found() -> dict[str, object]:
    return {
        "arguments": sys.argv[1:],
        "told": os.environ.get("TOLD"),
        "ours": os.environ.get("OURS"),
        "only in the nursery": os.environ.get("JE_ARROW_MALLOC_CONF"),
        "folder": str(Path.cwd()),
        "ids": [os.getpid(), os.getpgrp(), os.getsid(0)],
        "stdin": str(Path("/proc/self/fd/0").readlink()),
        "open files": sorted(int(file.name) for file in Path("/proc/self/fd").iterdir())[:4],
        "imported": "streams.process.worker" in sys.modules,
        "chance": random.random(),
    }


if __name__ == "__main__":
    print(json.dumps(_found()))
    if "stay" in sys.argv:
        sys.stdout.flush()
        time.sleep(600)
    raise SystemExit(int(sys.argv[-1]))
