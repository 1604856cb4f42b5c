"""The real handlers under random interleavings and faults; and the same with bugs planted, which must be found."""

from __future__ import annotations

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.handlers import planted, production
from tests.simulation.run import simulate

pytestmark = pytest.mark.no_cover  # Tracing makes the runs several times slower; other tests cover the same lines.

RUNS = 4000
PARTS = 4
SEEDS_PER_BUG = 5000


@pytest.mark.parametrize("part", range(PARTS))
def test_runs_agree(part: int) -> None:
    """Bucket, catalog, vectors and change stream agree once the faults are over, whatever the interleaving."""
    handlers = production()
    for seed in range(part * RUNS // PARTS, (part + 1) * RUNS // PARTS):
        assert simulate(seed, handlers) is None, f"seed {seed}"


def test_a_seed_repeats_its_run() -> None:
    """A seed that found something finds it again."""
    bug = BUGS["referenced_unlocked"]
    seen = [[simulate(seed, bug.handlers("repeated"), bug.focus) for seed in range(20)] for _ in range(2)]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", sorted(BUGS))
def test_planted_bug_is_found(name: str) -> None:
    """Each planted bug makes a run disagree, while the same run with the handlers as they are agrees."""
    bug = BUGS[name]
    handlers = bug.handlers(name)
    for seed in range(SEEDS_PER_BUG):
        if simulate(seed, handlers, bug.focus) is not None:
            assert simulate(seed, production(), bug.focus) is None
            return
    pytest.fail(f"{bug.wrong}: not found in {SEEDS_PER_BUG} runs")


def test_a_bug_that_fits_nowhere_is_refused() -> None:
    """A planted bug whose text the handlers no longer have is an error, not a run without a bug."""
    with pytest.raises(ValueError, match="0 times instead of once"):
        planted("nowhere", {"sweep": ("this text is not there", "")})
