"""The folder that holds all state of an embedded stack, and that one `twinlens up` at a time has for itself."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ops.embedded.errors import StackError
from ops.embedded.ports import free_port

DEFAULT_FOLDER: Final = Path(".twinlens")
_PRIVATE: Final = 0o600


class DataFolder:
    """Paths within the folder, and what is remembered from one run to the next: the S3 secret and the ports."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.buckets = self.path / "buckets"
        self.gallery = self.path / "gallery"
        self.environment_file = self.path / "environment"
        self._state_file = self.path / "state.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the folder for this process. The kernel lets go of it when the process ends, however it ends.

        Raises StackError if another process has it, or it can't be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._lock_file.open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                try:
                    yield
                finally:
                    self.environment_file.unlink(missing_ok=True)
        except BlockingIOError as error:
            raise StackError(
                f"another `twinlens up` runs on {self.path}; end it first, or name another folder with --data"
            ) from error
        except PermissionError as error:
            raise StackError(f"the folder {self.path} can't be written to: {error.strerror}") from error

    def is_held(self) -> bool:
        """Whether a running `twinlens up` has the folder."""
        try:
            with self._lock_file.open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def credentials(self) -> tuple[str, str]:
        """The S3 access key and its secret, made up at the first call."""
        state = self._state()
        if "secret_key" not in state:
            state["secret_key"] = secrets.token_urlsafe(24)
            self._save(state)
        return "twinlens", str(state["secret_key"])

    def port(self, name: str) -> int:
        """A free port for ``name``: the one of the last time if it is still free."""
        state = self._state()
        ports: dict[str, int] = state.setdefault("ports", {})
        others = [port for other, port in ports.items() if other != name]
        ports[name] = free_port(wanted=ports.get(name, 0), but=others)
        self._save(state)
        return ports[name]

    def write_environment(self, environment: Mapping[str, str]) -> None:
        """Leave the settings of the running stack for other commands, in a form that shells read too."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in sorted(environment.items())]
        _write_private(self.environment_file, "".join(lines))

    def read_environment(self) -> dict[str, str]:
        """The settings of the stack that runs on this folder; empty if none does."""
        try:
            text = self.environment_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        if not self.is_held():
            return {}
        pairs = (word.partition("=") for word in shlex.split(text))
        return {name: value for name, _, value in pairs}

    @property
    def _lock_file(self) -> Path:
        return self.path / "lock"

    def _state(self) -> dict[str, Any]:
        try:
            state = json.loads(self._state_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise StackError(f"{self._state_file} is damaged; remove it") from error
        return dict(state)

    def _save(self, state: Mapping[str, Any]) -> None:
        _write_private(self._state_file, json.dumps(state, indent=2) + "\n")


def _write_private(path: Path, text: str) -> None:
    """Replace the file in one step; only its owner may read it, since it holds a secret."""
    partial = path.with_suffix(".partial")
    partial.touch(mode=_PRIVATE)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def use_running_stack(path: Path = DEFAULT_FOLDER) -> bool:
    """Point this process's settings at the stack that runs on the folder; whether there is one.

    What the environment already sets stays as it is.
    """
    environment = DataFolder(path).read_environment()
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    return bool(environment)
