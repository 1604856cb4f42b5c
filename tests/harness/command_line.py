"""`twinlens …` as a person or a script runs it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.harness.stack.forking import fork


def twinlens(
    *words: str | Path, environment: Mapping[str, str], folder: Path | None = None, seconds: float = 180.0
) -> subprocess.CompletedProcess[str]:
    """The command, run to its end with these variables beside our own, in this folder or ours.

    Raises subprocess.TimeoutExpired.
    """
    return run([str(word) for word in words], {**os.environ, **environment}, folder=folder, seconds=seconds)


def run(
    words: list[str], environment: Mapping[str, str], *, folder: Path | None, seconds: float
) -> subprocess.CompletedProcess[str]:
    """The same in this environment, which is all of it."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        code = fork("ops.cli", words, environment, output, errors=errors, folder=folder).wait_or_kill(seconds)
        said = []
        for file in (output, errors):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(["twinlens", *words], code, *said)
