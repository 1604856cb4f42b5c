"""Doing harm to servers, links, disks and clocks, and undoing it."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from tests.chaos.links import Links
from tests.chaos.operations import CLOCK_FAULTS, LINK_FAULTS, WORKERS, FaultKind, Harm
from tests.harness.stack.process import ServerError, ServerProcess
from tests.harness.stack.stack import ServerName, Stack

DISK_SIZES: Final[Mapping[str, str]] = {"kafka": "256m", "objects": "256m", "database": "768m", "milvus": "768m"}
HOUR_S: Final = 3600


class Disks:
    """A disk of its own for each server: a small one in memory, which only root can mount."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders

    def mount(self) -> None:
        """Before the servers' first start."""
        for name, folder in self._folders.items():
            folder.mkdir(parents=True)
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZES[name]}", "tmpfs", str(folder)]
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ServerError(f"{FaultKind.FULL_DISK} needs root, to mount: {done.stderr}")

    def unmount(self) -> None:
        """After the servers' end."""
        for folder in self._folders.values():
            if folder.is_mount():
                subprocess.run(["umount", "--lazy", str(folder)], check=True)

    def fill(self, name: str) -> None:
        """Leave no byte free."""
        with self._filling(name).open("wb") as file:
            end = 0
            while free := os.statvfs(self._folders[name]).f_bavail * os.statvfs(self._folders[name]).f_frsize:
                try:
                    os.posix_fallocate(file.fileno(), end, free)
                except OSError:
                    # The server was quicker.
                    continue
                end += free

    def free(self, name: str) -> None:
        """Give the room back."""
        self._filling(name).unlink()

    def _filling(self, name: str) -> Path:
        return self._folders[name] / "filling"


class Clocks:
    """A clock for each worker that can be set while it runs. What counts seconds goes on as ever."""

    def __init__(self, folder: Path) -> None:
        self._library = folder / "clock.so"
        self._files = {worker: folder / f"{worker}.clock" for worker in WORKERS}

    def environment(self) -> dict[str, dict[str, str]]:
        """The variables of each worker; its clock is right at first. Needs a C compiler."""
        source = Path(__file__).with_name("clock.c")
        compile_library = ["cc", "-shared", "-fPIC", "-O2", "-o", str(self._library), str(source)]
        subprocess.run(compile_library, check=True, timeout=60)
        for worker in self._files:
            self.set(worker, 0)
        return {
            worker: {"LD_PRELOAD": str(self._library), "CLOCK_OFFSET": str(file)}
            for worker, file in self._files.items()
        }

    def set(self, worker: str, seconds: int) -> None:
        """Let the clock be so much ahead from now on."""
        self._files[worker].touch()
        with self._files[worker].open("r+b") as file:
            file.write(struct.pack("=q", seconds))


class Injector:
    """Begins and ends the faults of these kinds on a stack and the processes of Twinlens."""

    def __init__(
        self,
        stack: Stack,
        servers: Mapping[str, ServerName],
        kinds: Collection[FaultKind],
        links: Links,
        folder: Path,
    ) -> None:
        self._stack = stack
        self._servers = servers
        self._links = links
        self._disks = Disks({name: stack.data_folder(server) for name, server in servers.items()})
        self._clocks = Clocks(folder)
        self._has_disks = FaultKind.FULL_DISK in kinds
        self._has_clocks = not {*CLOCK_FAULTS}.isdisjoint(kinds)

    def prepare(self) -> None:
        """Before the servers' first start."""
        if self._has_disks:
            self._disks.mount()

    def clean_up(self) -> None:
        """After the servers' end."""
        self._disks.unmount()

    def clocks(self) -> dict[str, dict[str, str]]:
        """The variables that give processes clocks of their own, by their names; none if no clock will be wrong."""
        return self._clocks.environment() if self._has_clocks else {}

    def begin(self, harm: Harm, processes: Mapping[str, ServerProcess]) -> None:
        """Do the harm; ``processes`` are those of Twinlens."""
        match harm.kind:
            case FaultKind.KILL:
                self._process(harm, processes).kill()
            case FaultKind.HANG:
                self._process(harm, processes).hang()
            case FaultKind.FULL_DISK:
                self._disks.fill(harm.component)
            case FaultKind.CLOCK_AHEAD:
                self._clocks.set(harm.component, HOUR_S)
            case FaultKind.CLOCK_BEHIND:
                self._clocks.set(harm.component, -HOUR_S)
            case _:
                self._links.harm(harm.component, harm.kind)

    def end(self, harm: Harm, processes: Mapping[str, ServerProcess]) -> None:
        """Undo it. A server that ended, also of itself, is started; our processes a supervisor brings back."""
        if harm.kind is FaultKind.HANG:
            self._process(harm, processes).go_on()
        elif harm.kind is FaultKind.FULL_DISK:
            self._disks.free(harm.component)
        elif harm.kind in CLOCK_FAULTS:
            self._clocks.set(harm.component, 0)
        elif harm.kind in LINK_FAULTS:
            self._links.heal(harm.component)

    def _process(self, harm: Harm, processes: Mapping[str, ServerProcess]) -> ServerProcess:
        if harm.component in self._servers:
            return self._stack.process(self._servers[harm.component])
        return processes[harm.component]
