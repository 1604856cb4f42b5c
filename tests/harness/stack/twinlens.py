"""Twinlens's own processes on a stack: the three kinds of worker and the query service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ops.privileges import Access
from tests.harness.stack.accounts import accounts_of
from tests.harness.stack.cleanup import in_own_loop
from tests.harness.stack.containers import wants_containers
from tests.harness.stack.forking import fork
from tests.harness.stack.health import answers_ok
from tests.harness.stack.process import Command, ForkedProcess, ServerError, ServerProcess, free_port

_SETUP_SECONDS = 180
AS_MODULE = (sys.executable, "-m", "ops.cli")
"""`twinlens`, as what can be forked is named."""


@dataclass(frozen=True)
class Role:
    """One process: its name, the command after `twinlens`, and the settings' section with its port."""

    name: str
    arguments: tuple[str, ...]
    section: str
    port_key: str = "HEALTH_PORT"


def roles(index_workers: int) -> Iterator[Role]:
    """`ingest`, `requests`, `index`, `index-2`, …, and `api`."""
    yield Role("ingest", ("worker", "ingest"), "INGEST")
    yield Role("requests", ("worker", "requests"), "REQUESTS")
    for number in range(1, index_workers + 1):
        yield Role("index" if number == 1 else f"index-{number}", ("worker", "index"), "INDEX")
    yield Role("api", ("api",), "API", "PORT")


class Application:
    """Workers and query service under one environment, each on a free port of its own that stays over restarts.

    `more`: variables of single processes, by their role's name. `program`: what runs in the place of `twinlens`, as
    `python -m MODULE …`. `forked`: workers are forked from a process that has imported everything (see `forking`), but
    for those under variables that act on the start of a process. On servers in containers, which know users as those
    of the compose file do, workers run as one who writes and the query service as one who reads; `setup` makes both.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        logs: Path,
        *,
        index_workers: int = 1,
        api_port: int = 0,
        more: Mapping[str, Mapping[str, str]] | None = None,
        program: Sequence[str] | None = None,
        forked: bool = False,
    ) -> None:
        self._environment = dict(environment)
        self._more = more or {}
        self._forked = forked
        self._program = program or (AS_MODULE if forked else [_program()])
        self._logs = logs
        self._accounts = accounts_of(environment) if wants_containers() else {}
        self._ports = {role.name: free_port() for role in roles(index_workers)}
        self._ports["api"] = api_port or self._ports["api"]
        self.processes = {role.name: self._process(role) for role in roles(index_workers)}

    @property
    def api_url(self) -> str:
        """Where the query service answers."""
        return self.health_url("api")

    def health_url(self, role: str) -> str:
        """Where a process offers /healthz, /readyz and /metrics."""
        return f"http://127.0.0.1:{self._ports[role]}"

    def start(self) -> None:
        """Run `twinlens setup`, then start all processes and wait until each is ready."""
        self.setup()
        for process in self.processes.values():
            process.launch()
        for process in self.processes.values():
            process.wait_ready()

    def setup(self) -> None:
        """Run `twinlens setup` (safe to repeat); `ServerError` with its output if it fails."""
        if not Path(_program()).exists():
            raise ServerError(f"{_program()} isn't there; `make .venv` installs it")
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / "setup.log"
        with log.open("wb") as output:
            code = self._run_setup(output)
        if code != 0:
            raise ServerError(f"twinlens setup ended with {code}\n{log.read_text(encoding='utf-8')}")
        for account in self._accounts.values():
            in_own_loop(account.make(self._environment))

    def _run_setup(self, output: BinaryIO) -> int:
        environment = {**os.environ, **self._environment}
        if self._forked:
            return fork("ops.cli", ["setup"], environment, output).wait_or_kill(_SETUP_SECONDS)
        done = subprocess.run(
            [_program(), "setup"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_SETUP_SECONDS,
        )
        return done.returncode

    def stop(self) -> None:
        """Stop all processes side by side, each in good order. Safe to repeat."""
        with ThreadPoolExecutor(len(self.processes)) as pool:
            list(pool.map(ServerProcess.stop, self.processes.values()))

    def _process(self, role: Role) -> ServerProcess:
        port_variable = f"TWINLENS_{role.section}__{role.port_key}"
        account = self._accounts.get(Access.READ if role.section == "API" else Access.WRITE)
        credentials = account.variables(self._environment) if account else {}
        own = {port_variable: str(self._ports[role.name]), **credentials, **self._more.get(role.name, {})}
        environment = self._environment | own
        ready = f"{self.health_url(role.name)}/readyz"
        # In a chaos run a forked query service met a CancelledError at each /readyz; why isn't known.
        can_fork = role.section != "API" and all(variable.startswith("TWINLENS_") for variable in environment)
        kind = ForkedProcess if self._forked and can_fork else ServerProcess
        return kind(
            role.name,
            Command([*self._program, *role.arguments], environment),
            log=self._logs / f"{role.name}.log",
            is_ready=lambda: answers_ok(ready),
        )


def _program() -> str:
    return str(Path(sys.executable).with_name("twinlens"))
