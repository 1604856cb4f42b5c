"""One installation of docker-compose.yaml, unmodified, under a project name of its own and on free ports."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.compose.checks import ProofFailed
from tests.compose.images import ROOT, docker
from tests.harness.stack.containers import find_compose
from tests.harness.stack.process import free_port

HEALTHY_S: Final = 600
"""For so long an installation may take to its health: on a slow and busy machine, with everything to be made."""

PORTS: Final = ("TWINLENS_PORT", "TWINLENS_PAGE_PORT", "S3_PORT", "S3_CONSOLE_PORT", "KAFKA_PORT", "PROMETHEUS_PORT")
RUNNING: Final = ("kafka", "minio", "mysql", "etcd", "milvus", "ingest", "requests", "index", "query")


def compose_command() -> list[str]:
    """Compose as docker's own subcommand, or as a program. Raises ProofFailed where there is neither."""
    found = find_compose()
    if found is None:
        raise ProofFailed("there is no Docker Compose of version 2 or later: apt-get install docker-compose-v2, say")
    return found


class Stack:
    """``folder`` has the `.env`; what it names is the only thing that differs from a user's installation."""

    def __init__(
        self, folder: Path, variables: Mapping[str, str], project: str = "twinlens-proof", added: Path | None = None
    ) -> None:
        """``added``: a second compose file."""
        self.project = project
        self.ports = {name: free_port() for name in PORTS}
        self.variables = dict(variables)
        self._env = folder / ".env"
        files = [] if added is None else ["--file", str(ROOT / "docker-compose.yaml"), "--file", str(added)]
        options = ["--project-directory", str(ROOT), "--project-name", project, "--env-file", str(self._env)]
        self._command = [*compose_command(), *files, *options]
        self.configure()

    def url(self, port: str) -> str:
        """What the variable publishes, as a URL."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def configure(self, **variables: str | None) -> None:
        """Write `.env` anew; None takes a variable out."""
        self.variables |= {name: value for name, value in variables.items() if value is not None}
        for name, value in variables.items():
            if value is None:
                self.variables.pop(name, None)
        lines = {**self.variables, **{name: str(port) for name, port in self.ports.items()}}
        self._env.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")

    def run(self, *arguments: str, check: bool = True, timeout: float = HEALTHY_S) -> subprocess.CompletedProcess[str]:
        """Run a command of Compose on the repository's file."""
        return self._run([*self._command, *arguments], ROOT, check=check, timeout=timeout)

    def shell(self, commands: str, folder: Path, timeout: float = HEALTHY_S) -> None:
        """Run what the docs show, in a folder; there the project is called `twinlens`."""
        compose = shlex.join(self._command)
        begin = (
            f'set -euo pipefail; docker() {{ if [ "$1" = compose ]; then shift; command {compose} "$@"; '
            'else command docker "$@"; fi; }\n'
        )
        ours = re.sub(r"\btwinlens_(?=\$volume|secrets|page|inside)", f"{self.project}_", commands)
        self._run(["bash", "-c", begin + ours], folder, check=True, timeout=timeout)

    def _run(
        self, command: list[str], folder: Path, *, check: bool, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        # Nothing of the caller's environment may stand in for what `.env` should have.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TWINLENS_")}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=timeout
        )
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr)[-4000:]
            raise ProofFailed(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
        return done

    def up(self, *arguments: str) -> float:
        """Start everything, wait until it is healthy; the seconds that took."""
        begun = time.monotonic()
        self.run("up", "--detach", "--wait", *arguments)
        return time.monotonic() - begun

    def remove(self) -> None:
        """Take away containers, networks and volumes."""
        self.run("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "10", check=False)

    def volumes(self) -> set[str]:
        """The names of the volumes that there are."""
        return set(docker("volume", "ls", "--quiet", "--filter", f"name={self.project}_").stdout.split())

    def services(self) -> list[str]:
        """The services that have containers which run."""
        return self.run("ps", "--services").stdout.split()

    def container(self, service: str, index: int = 1) -> str:
        """The name of a service's container."""
        return f"{self.project}-{service}-{index}"

    def inspect(self, service: str) -> dict[str, Any]:
        """What Docker knows of the container."""
        [found] = json.loads(docker("inspect", self.container(service)).stdout)
        return dict(found)

    def health(self, service: str) -> str:
        """The container's health, or its state where it has no check."""
        state = self.inspect(service)["State"]
        return str(state.get("Health", {}).get("Status") or state["Status"])

    def execute(self, service: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container."""
        return self.run("exec", "--no-TTY", service, *command, check=check)

    def logs(self, service: str) -> str:
        """What a service's containers have written."""
        done = self.run("logs", "--no-color", service, check=False)
        return done.stdout + done.stderr

    def secret(self, name: str) -> str:
        """One of the installation's secrets, as setup sees it."""
        mount = f"{self.project}_secrets:/secrets:ro"
        return docker("run", "--rm", "--volume", mount, "--entrypoint", "cat", "twinlens", f"/secrets/{name}").stdout

    def wait_healthy(self, *services: str, limit_s: float = HEALTHY_S) -> float:
        """Wait until these are healthy; the seconds that took."""
        begun = time.monotonic()
        missing = list(services)
        while missing:
            missing = [service for service in missing if self.health(service) != "healthy"]
            if time.monotonic() - begun > limit_s:
                raise ProofFailed("\n".join(f"{service} is {self.health(service)}" for service in missing))
            if missing:
                time.sleep(1)
        return time.monotonic() - begun

    def memory(self) -> dict[str, str]:
        """What each container holds now, and its limit."""
        listed = docker("stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}").stdout
        rows = (line.split("\t") for line in listed.splitlines())
        return {name.removeprefix(f"{self.project}-"): used for name, used in rows if name.startswith(self.project)}
