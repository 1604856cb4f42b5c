"""What an exit code of the ``twinlens`` command says, once for all who give or read one."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Commands end as grep does: 0 found, 1 not (all of it), 2 an error. Processes say what a supervisor should do."""

    OK = 0
    """Found, or done; of a process: asked to stop, ended in good order."""
    NOT_ALL = 1
    """A command ran, and nothing was found, or not all of it could be done."""
    ERROR = 2
    """A command could not run: wrong arguments, no installation, an outage."""
    REFUSED = 3
    """``reconcile`` refused a removal."""
    BUG = 70
    """The traceback is on standard error, or in the log."""
    OUTAGE = 75
    """Of a process: an outage outlasted its retry budget, and it wants to be started again."""
    CONFIGURATION = 78
    """Of a process: somebody has to change something before it can run."""
    INTERRUPTED = 130
    """Ctrl-C."""
    PIPE_CLOSED = 141
    """Whoever read the answer had enough, as `head` has."""
