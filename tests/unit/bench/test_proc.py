"""What is read from /proc."""

from __future__ import annotations

import os
import time

import pytest

from bench import proc
from bench.running import Spent, Usage

TICKS = os.sysconf("SC_CLK_TCK")
_STAT = "4242 (odd) name) 1) S 1 4200 4100 0 -1 4194304 99 0 0 0 {user} {system} {waited_user} {waited_system} 20 0 8 0"


def test_a_process_counts_with_its_children_even_under_an_odd_name() -> None:
    """User and system time of itself and of those it waited for are summed; parentheses in its name confuse nobody."""
    stat = _STAT.format(user=TICKS, system=2 * TICKS, waited_user=3 * TICKS, waited_system=4 * TICKS)
    assert proc.parse_process(stat) == pytest.approx((4100, 10.0))


def test_waiting_for_a_disk_is_idle_and_the_hypervisors_time_is_nobodys() -> None:
    """Busy, idle and stolen time are told apart."""
    fields = [each * TICKS for each in (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)]
    machine = proc.parse_machine(f"cpu  {' '.join(map(str, fields))}\ncpu0 1 2 3\n")
    assert machine == pytest.approx((1 + 2 + 3 + 6 + 7, 4 + 5, 8))


def test_this_process_is_found_in_its_session() -> None:
    """What is computed here shows up as CPU seconds of the session that it is part of."""
    session = os.getsid(0)
    before, end = proc.cpu_by_session()[session], time.process_time() + 0.2
    while time.process_time() < end:
        sum(range(10_000))
    assert proc.cpu_by_session()[session] - before >= 0.15
    assert proc.peak_bytes(session) > 1_000_000


def test_what_nobody_of_ours_used_is_others() -> None:
    """The shares are of all cores' time, and what is busy beyond our processes is somebody else's."""
    begin = Usage(10.0, {"kafka": 1.0}, proc.Machine(100.0, 100.0, 0.0))
    end = Usage(15.0, {"kafka": 3.0, "index": 2.0}, proc.Machine(106.0, 103.0, 1.0))
    spent = Spent.between(begin, end)
    assert spent.cpu_s == {"kafka": 2.0, "index": 2.0}
    assert (spent.seconds, spent.idle, spent.others) == pytest.approx((5.0, 0.3, 0.3))
