"""What the query service does not touch."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROBE = """
import sys

import pytest
from query_api.app import build
from schemas.settings import Settings

build(Settings())
wanted = ("streams", "faust", "mode", "aiokafka", "stores.broker", "stores.catalog.sql", "alembic")
print([name for name in sys.modules if name.startswith(wanted) and name != "model"])
"""


@pytest.mark.slow
def test_it_knows_no_kafka_and_no_writing_catalog() -> None:
    """Building the service imports nothing of the write side, and connects to nothing."""
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
