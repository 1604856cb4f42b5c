"""`make stack`: the real servers and Twinlens on them, in the foreground until Ctrl-C or SIGTERM.

python -m tests.harness.stack             everything; writes .stack/stack.json when it is ready
python -m tests.harness.stack servers     the servers alone; prints the variables that point the tests at them
python -m tests.harness.stack install     fetches and builds the servers, starts nothing
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.harness.stack.cleanup import in_own_loop, run_sql
from tests.harness.stack.external import as_variables
from tests.harness.stack.install import InstallError, install
from tests.harness.stack.process import ServerError, ServerProcess
from tests.harness.stack.settings import ANNOUNCED_BY_SERVER, twinlens_environment
from tests.harness.stack.stack import DATABASES, OBJECT_STORES, Addresses, Stack, servers_with
from tests.harness.stack.supervisor import Supervisor
from tests.harness.stack.twinlens import Application

_BUCKET = "pictures"
_DATABASE = "twinlens"
_DESCRIPTION = "stack.json"
_LOOK_SECONDS = 0.2
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop(BaseException):
    """Somebody asked for the end: Ctrl-C, SIGTERM or the terminal's closing."""


def main() -> int:
    """Run the command; 0 after a stop that was asked for, 1 with a message if something is missing or fails."""
    arguments = _arguments()
    for number in _ENDING_SIGNALS:
        signal.signal(number, _stop)
    try:
        _say("looking for the servers' programs (the first time, building MinIO takes some minutes)")
        if arguments.what == "install":
            install()
        else:
            install(*servers_with(arguments.database, arguments.objects))
            _run(arguments)
    except (InstallError, ServerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except _Stop:
        _say("stopped")
    return 0


def _run(arguments: argparse.Namespace) -> None:
    """Have the folder to ourselves, and serve from it."""
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError(f"a stack already runs in {folder}") from None
        (folder / _DESCRIPTION).unlink(missing_ok=True)
        if not arguments.keep:
            shutil.rmtree(folder / "servers", ignore_errors=True)
            shutil.rmtree(folder / "logs", ignore_errors=True)
        stack = Stack(folder / "servers", folder / "logs", database=arguments.database, objects=arguments.objects)
        try:
            _serve(stack, folder, arguments)
        finally:
            for number in _ENDING_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            (folder / _DESCRIPTION).unlink(missing_ok=True)
            stack.stop()


def _serve(stack: Stack, folder: Path, arguments: argparse.Namespace) -> None:
    """Start the servers and, unless they alone are wanted, Twinlens; then watch over all until a signal."""
    began = time.monotonic()
    stack.start()
    processes: dict[str, ServerProcess] = {name: stack.process(name) for name in stack.names}
    if arguments.what == "servers":
        _print_variables(stack.addresses)
        _say(f"ready after {time.monotonic() - began:.0f} s; Ctrl-C stops them")
        _watch(Supervisor(processes, _say), lambda: None)
        return
    application = _application(stack.addresses, folder / "logs", arguments)
    try:
        application.start()
        processes |= application.processes

        def describe() -> None:
            _describe(folder / _DESCRIPTION, stack.addresses, application.api_url, processes)

        describe()
        _say(f"ready after {time.monotonic() - began:.0f} s: {application.api_url}")
        _say(f"addresses and secrets: {folder / _DESCRIPTION}; logs: {folder / 'logs'}; Ctrl-C stops it")
        _watch(Supervisor(processes, _say), describe)
    finally:
        application.stop()


def _watch(supervisor: Supervisor, restarted: Callable[[], None]) -> None:
    while True:
        if supervisor.look():
            restarted()
        time.sleep(_LOOK_SECONDS)


def _application(addresses: Addresses, logs: Path, arguments: argparse.Namespace) -> Application:
    statement = f"CREATE DATABASE IF NOT EXISTS {_DATABASE} CHARACTER SET utf8mb4"
    in_own_loop(run_sql(addresses.database, statement))
    environment = twinlens_environment(addresses, bucket=_BUCKET, database_url=addresses.database_url(_DATABASE))
    environment |= {"TWINLENS_ENVIRONMENT": "production", "TWINLENS_LOG__FORMAT": "json"}
    if arguments.objects == "versitygw":
        environment |= ANNOUNCED_BY_SERVER
    return Application(environment, logs, index_workers=arguments.index_workers, api_port=arguments.port)


def _describe(file: Path, addresses: Addresses, api: str, processes: Mapping[str, ServerProcess]) -> None:
    """Write the description in one step, readable by its owner only, since it holds secrets."""
    content = {
        "api": api,
        "s3": {
            "endpoint": addresses.s3,
            "access_key": addresses.access_key,
            "secret_key": addresses.secret_key,
            "bucket": _BUCKET,
        },
        "kafka": addresses.kafka,
        "database": addresses.database_url(_DATABASE),
        "milvus": addresses.milvus,
        "processes": {name: process.pid for name, process in processes.items() if process.pid is not None},
    }
    partial = file.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.rename(file)


def _print_variables(addresses: Addresses) -> None:
    for name, value in as_variables(addresses).items():
        print(f"export {name}={shlex.quote(value)}", flush=True)


def _say(text: str) -> None:
    print(f"stack: {text}", file=sys.stderr, flush=True)


def _stop(_number: int, _frame: object) -> None:
    raise _Stop


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.stack", description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("all", "servers", "install"), default="all")
    parser.add_argument("--folder", type=Path, default=Path(".stack"), help="data, logs and stack.json")
    parser.add_argument("--index-workers", type=int, default=int(os.environ.get("INDEX_WORKERS") or 1))
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get("PORT") or 0), help="of the API; 0: any free one"
    )
    parser.add_argument("--database", choices=DATABASES, default=os.environ.get("DATABASE") or "mariadb")
    parser.add_argument("--objects", choices=OBJECT_STORES, default=os.environ.get("OBJECTS") or "minio")
    parser.add_argument("--keep", action="store_true", help="go on with the data of the last time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
