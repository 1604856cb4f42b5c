"""What the commands share: options, how errors are told, and how a command comes to its exit code."""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ops.hints import working
from schemas.errors import ConfigurationError, Outage, TwinlensError
from schemas.exit_codes import ExitCode

TIME_LIMIT_S: Final = 3600.0

DataOption = Annotated[Path, typer.Option("--data", help="The folder of an embedded stack; used if it runs.")]
TimeLimit = Annotated[
    float, typer.Option("--time-limit", min=1, help="Seconds after which to give up: this reads the whole catalog.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as docs/commands.md describes it.")]
OneBucket = Annotated[str | None, typer.Option(help="Only this bucket.")]
ToBucket = Annotated[str | None, typer.Option(help="The bucket; the first of the settings by default.")]
ApiUrl = Annotated[str | None, typer.Option("--api", envvar="TWINLENS_API_URL", help="The query service.")]
ApiKey = Annotated[str | None, typer.Option(envvar="TWINLENS_API_KEY", help="The query service's, if it asks for one.")]

_ABOUT_FILES: Final = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.EEXIST),
        *(errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EIO, errno.EMFILE),
    }
)
"""What the person at the terminal can do something about; other errors of the system are bugs of ours."""


@contextmanager
def command(data: Path | None = None) -> Iterator[None]:
    """A command that a person or a script runs: every foreseen error is one sentence and exit code 2.

    A bug keeps its traceback, with exit code 70. ``data``: the folder that hints name.
    """
    with _errors_reported(data, outage=ExitCode.ERROR, configuration=ExitCode.ERROR):
        yield


@contextmanager
def process() -> Iterator[None]:
    """What a supervisor runs: exit codes 75 and 78 tell an outage from what somebody has to change."""
    with _errors_reported(None, outage=ExitCode.OUTAGE, configuration=ExitCode.CONFIGURATION):
        yield


@contextmanager
def _errors_reported(data: Path | None, *, outage: ExitCode, configuration: ExitCode) -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except ConfigurationError as error:
        raise complained("settings", error, configuration, data) from error
    except Outage as error:
        raise complained(error.dependency, error, outage, data) from error
    except TwinlensError as error:
        raise complained("error", error, ExitCode.ERROR, data) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(ExitCode.INTERRUPTED) from error
    except BrokenPipeError as error:
        _write_nowhere()
        raise typer.Exit(ExitCode.PIPE_CLOSED) from error
    except OSError as error:
        if error.errno not in _ABOUT_FILES:
            raise _bug() from error
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        raise complained("error", what, ExitCode.ERROR, data) from error
    except typer.Exit:
        raise
    except Exception as error:  # the outermost place: what comes here is a bug
        raise _bug() from error


def complained(what: str, error: object, code: ExitCode, data: Path | None = None) -> typer.Exit:
    """Print an error, with hints that work here; to be raised. Its text may hold anything, lines of a log too."""
    from ops.terminal import plain, stderr

    stderr().print(plain(f"{what}:", style="bold red"), plain(working(str(error), data)), soft_wrap=True)
    return typer.Exit(code)


def _bug() -> typer.Exit:
    traceback.print_exc()
    return typer.Exit(ExitCode.BUG)


def _write_nowhere() -> None:
    """What is still in the buffer has nobody to go to; without this, the interpreter's end would complain."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def ended(*, well: bool) -> typer.Exit:
    """The end of a command that can do, or find, less than it was asked for; to be raised."""
    return typer.Exit(ExitCode.OK if well else ExitCode.NOT_ALL)


def print_json(answer: Any) -> None:
    """The answer on one line; docs/commands.md says what is in it."""
    from ops.terminal import json_text

    sys.stdout.write(json_text(answer) + "\n")


def print_answer(facts: Any, words: str, *, as_json: bool, well: bool = True) -> None:
    """The answer: as JSON, or in words for people, which go to standard error where not all could be done."""
    if as_json:
        print_json(facts)
    else:
        typer.echo(words, err=not well)


@contextmanager
def importing() -> Iterator[None]:
    """Around the imports of a process that runs for long: its garbage collector leaves alone what they make.

    While modules are imported, it would look again and again at ever more objects that all stay, which takes a sixth of
    a worker's start; afterwards at each full collection.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
