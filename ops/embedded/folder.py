"""The folder that holds all state of an embedded stack, and that one `twinlens up` at a time has for itself."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ops.embedded.errors import StackError
from ops.embedded.ports import free_port
from ops.hints import DATA

NEEDED_BYTES: Final = 64 * 1024 * 1024
"""Less room than this, and the servers would not come up, or stop soon after."""
_PRIVATE: Final = 0o600


class Store(StrEnum):
    """What keeps an embedded stack's pictures."""

    FOLDER = "folder"
    MINIO = "minio"


class DataFolder:
    """Paths within the folder, and what is remembered from one run to the next: S3 secret, ports, kind of store."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.buckets = self.path / "buckets"
        self.minio = self.path / "minio"
        self.gallery = self.path / "gallery"
        self.environment_file = self.path / "environment"
        self._state_file = self.path / "state.json"
        self.used = False
        """Whether something was begun that is to be kept, however this run ends."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the folder for this process. The kernel lets go of it when the process ends, however it ends.

        A folder that was made here and never ``used`` is removed again. Raises StackError if another process has it, or
        if it can't be made or written to.
        """
        missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            with self._locked(is_new=bool(missing)):
                yield
        except ConnectionError:
            raise
        except OSError as error:
            raise StackError(f"{error.filename or self.path} can't be written: {error.strerror}") from error
        finally:
            for path in missing:
                # What has something in it by now stays, be it another's.
                with suppress(OSError):
                    path.rmdir()

    @contextmanager
    def _locked(self, *, is_new: bool) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        with self._lock_file.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StackError(
                    f"another stack runs on {self.path}; end it first, or name another folder with --data"
                ) from error
            # Another run may have made it in the same moment, and be over by now.
            is_new = is_new and [*self.path.iterdir()] == [self._lock_file]
            try:
                # What a stack that was killed has left says nothing of this one.
                self.environment_file.unlink(missing_ok=True)
                self._check_room()
                yield
            finally:
                with suppress(OSError):
                    self.environment_file.unlink(missing_ok=True)
                if is_new and not self.used:
                    shutil.rmtree(self.path, ignore_errors=True)

    def _check_room(self) -> None:
        """Raises StackError on a disk that is as good as full."""
        free = shutil.disk_usage(self.path).free
        if free < NEEDED_BYTES:
            raise StackError(
                f"the disk of {self.path} has {free >> 20:,} MiB left, and the stack needs {NEEDED_BYTES >> 20:,} MiB"
            )

    def store(self) -> Store | None:
        """Where the pictures of this folder are; None if nobody has chosen yet.

        A folder of an earlier version has not written it down, and shows it. Raises StackError where it shows both.
        """
        remembered = self._state().get("store")
        if remembered is not None:
            return Store(remembered)
        present = [store for store, path in ((Store.FOLDER, self.buckets), (Store.MINIO, self.minio)) if path.exists()]
        if len(present) > 1:
            raise StackError(
                f"{self.path} has pictures in a folder and in MinIO: say --objects folder or --objects minio"
            )
        return present[0] if present else None

    def remember_store(self, store: Store) -> None:
        """For the next run, which takes the same one."""
        self._save({**self._state(), "store": str(store)})

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
        ports[name] = free_port(wanted=ports.get(name, 0), other_than=others)
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
    try:
        partial.touch(mode=_PRIVATE)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def use_running_stack(path: Path = DATA) -> bool:
    """Point this process's settings at the stack that runs on the folder; whether there is one.

    What the environment already sets stays as it is. Raises StackError while it is still starting.
    """
    folder = DataFolder(path)
    environment = folder.read_environment()
    if not environment and folder.is_held():
        raise StackError(f"the stack on {path} is still starting, or stopping: try again in a moment")
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    return bool(environment)
