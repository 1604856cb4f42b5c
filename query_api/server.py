"""Running the query service with uvicorn: in this process, or in several that share one port."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from threading import Thread

import uvicorn
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from query_api.app import build
from query_api.http.protocol import BoundedHttp
from query_api.metrics import SHARED_FOLDER_VARIABLE
from schemas.settings import Settings

BACKLOG = 512
STOP_WITHIN_S = 10
START_WITHIN_S = 120
"""A worker that does not answer its supervisor for so long is replaced; it has to import everything first."""


def serve(settings: Settings, set_up_logs: Callable[[], None]) -> None:
    """Answer until SIGINT or SIGTERM; then finish what is being answered, for at most ``STOP_WITHIN_S`` seconds.

    Logs are the caller's, and ``set_up_logs`` sets them up again in each worker. uvicorn's own access log is off, since
    each request has its line already.
    """
    app = build(settings)
    if settings.api.workers == 1:
        uvicorn.Server(_config(settings, app)).run()
        return
    # What is wrong with the settings has shown by now, here and once; the workers build apps of their own.
    config = _config(settings, partial(_worker, settings, set_up_logs))
    with tempfile.TemporaryDirectory(prefix="twinlens-metrics-") as folder:
        os.environ[SHARED_FOLDER_VARIABLE] = folder
        _Workers(config, [config.bind_socket()]).run()


def _config(settings: Settings, app: FastAPI | Callable[[], FastAPI]) -> uvicorn.Config:
    api = settings.api
    return uvicorn.Config(
        app,
        factory=not isinstance(app, FastAPI),
        workers=api.workers,
        host=api.host,
        port=api.port,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # The app believes those that it trusts, see query_api/http/forwarded.py.
        timeout_keep_alive=30,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        timeout_worker_healthcheck=START_WITHIN_S,
        backlog=BACKLOG,
        http=BoundedHttp,
    )


def _worker(settings: Settings, set_up_logs: Callable[[], None]) -> FastAPI:
    """The app of a worker, in its own process."""
    set_up_logs()
    Thread(target=_end_with_supervisor, daemon=True).start()
    return build(settings)


def _end_with_supervisor() -> None:
    """A supervisor that is killed can't end its workers, and they would hold the port."""
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None, "a worker was started by a supervisor"
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)


class _Workers(Multiprocess):
    """uvicorn's supervisor, which starts a new worker for one that died; what the dead one was doing counts no more."""

    def keep_subprocess_alive(self) -> None:
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
