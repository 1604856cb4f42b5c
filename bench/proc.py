"""What processes and the machine have used, from /proc.

A server or worker is a session of its own (``tests.harness.stack.process`` starts it so), named by its leader's
process id; its children count with it, those that have ended too.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_STATE, _SESSION, _TIMES = 0, 3, slice(11, 15)
"""Positions of a stat line's fields after the command's name: see proc_pid_stat(5)."""
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class ProcessTimes(NamedTuple):
    """A process's session, and the CPU seconds of itself and of its children that were waited for."""

    session: int
    cpu_s: float


class Machine(NamedTuple):
    """Seconds since the start, summed over the cores. ``stolen``: taken by the hypervisor, for others."""

    busy_s: float
    idle_s: float
    stolen_s: float


def parse_process(stat: str) -> ProcessTimes:
    """``/proc/<pid>/stat``. The command's name is in parentheses and may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return ProcessTimes(int(fields[_SESSION]), sum(map(int, fields[_TIMES])) * _TICK_S)


def parse_machine(stat: str) -> Machine:
    """``/proc/stat``. Waiting for a disk counts as idle; guests are within user."""
    user, nice, system, idle, iowait, irq, softirq, stolen = map(int, stat.splitlines()[0].split()[1:9])
    busy = user + nice + system + irq + softirq
    return Machine(busy * _TICK_S, (idle + iowait) * _TICK_S, stolen * _TICK_S)


def machine() -> Machine:
    """The machine now."""
    return parse_machine((_PROC / "stat").read_text(encoding="ascii"))


def cpu_by_session() -> Mapping[int, float]:
    """CPU seconds of all sessions that have a process now."""
    used: dict[int, float] = defaultdict(float)
    for pid in _pids():
        try:
            times = parse_process((_PROC / pid / "stat").read_text(encoding="utf-8", errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        used[times.session] += times.cpu_s
    return used


def peak_bytes(session: int) -> int:
    """The most memory that each of a session's processes has held, summed; pages that they share count for each."""
    total = 0
    for pid in _pids():
        try:
            if parse_process((_PROC / pid / "stat").read_text(encoding="utf-8", errors="replace")).session == session:
                found = _PEAK.search((_PROC / pid / "status").read_text(encoding="utf-8", errors="replace"))
                total += int(found.group(1)) * 1024 if found else 0
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def raise_priority(session: int) -> None:
    """Give all threads of a session the usual priority, where they have a lower one and that is allowed."""
    for pid in _pids():
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if os.getsid(int(pid)) == session:
                for thread in (_PROC / pid / "task").iterdir():
                    if os.getpriority(os.PRIO_PROCESS, int(thread.name)) > 0:
                        os.setpriority(os.PRIO_PROCESS, int(thread.name), 0)


def processor() -> str:
    """The processor's name, for the report."""
    found = re.search(r"^model name\s*:\s*(.+)$", (_PROC / "cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else "unknown"


def _pids() -> list[str]:
    return [path.name for path in _PROC.glob("[0-9]*")]
