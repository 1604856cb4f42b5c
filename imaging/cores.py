"""How many cores this process may use, where that is fewer than the machine has.

A container with a limit of two cores on a machine of 64 sees all 64: 64 threads would then share the time of two, wait
for each other, and be stopped together for the rest of each period. Linux says the limit in the process's control
group.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")


def allowed_cores(root: Path = _ROOT) -> int:
    """The cores that this process may use at a time, at least one: of its affinity, and of its control group's limit.

    ``root``: where the control groups of version 2, or of version 1 below ``cpu``, are mounted. In a container that is
    the container's own group.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _limit(root)
    return affinity if limit is None else max(1, min(affinity, math.ceil(limit)))


def _limit(root: Path) -> float | None:
    """The time that the group has in each period, in cores; None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in _VERSION_1)
        except OSError:
            return None
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None


_VERSION_1: Final = ("quota", "period")
