"""A worker process: a Faust app, its health endpoint and its background loops, from start to exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from typing import NoReturn

import structlog
from aiokafka.errors import KafkaError
from faust.types import AppT

from schemas.errors import BrokerOutage, ConfigurationError, ModelsChanged, Outage
from schemas.exit_codes import ExitCode
from schemas.settings import Settings
from schemas.task_groups import run_with_background
from stores.broker.topics import missing_topics
from streams.common.backoff import Check, OutageRetry, Outages
from streams.common.metrics import DEPENDENCY_UP
from streams.common.scope import CHECK_TIMEOUT_S
from streams.process.agents import create_faust_app
from streams.process.composition import worker_parts
from streams.process.health import serve_health
from streams.process.roles import ROLES, Loop, RoleName, WorkerRole

log = structlog.get_logger(__name__)


def fatal(error: BaseException) -> NoReturn:
    """End the process at once, unacknowledged, with the exit code that says why.

    At once, since Faust commits on its way out, and past messages that nobody has handled.
    """
    code = exit_code(error)
    log.critical(
        "worker_ends",
        exit_code=int(code),
        error_type=type(error).__name__,
        error=str(error),
        exc_info=error if code is ExitCode.BUG else None,
    )
    logging.shutdown()
    os._exit(code)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code of an error that ends a worker."""
    # Faust's own Kafka client can meet an outage too, in the moment between our first look and its start.
    if isinstance(error, Outage | ModelsChanged) or (isinstance(error, KafkaError) and error.retriable):
        return ExitCode.OUTAGE
    return ExitCode.CONFIGURATION if isinstance(error, ConfigurationError) else ExitCode.BUG


async def run_worker(role: RoleName, settings: Settings) -> ExitCode:
    """Run until SIGTERM or SIGINT; an outage that outlasts the budget ends the process from within."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with worker_parts(settings) as parts:
        worker = Worker(ROLES[role](parts))
        section = worker.role.section
        async with serve_health(section.health_host, section.health_port, worker.checks):
            try:
                return await worker.run(stop)
            except Exception as error:
                fatal(error)


class Worker:
    """A Faust app for a role, and the loops beside it."""

    def __init__(self, role: WorkerRole) -> None:
        self.role = role
        self._consuming: AppT | None = None

    async def run(self, stop: asyncio.Event) -> ExitCode:
        """Wait for what the worker needs, consume until ``stop``, end in good order.

        Likewise when other models come to be served; then the exit code asks for another start.
        """
        role = self.role
        if not await self._ready_to_start(stop):
            return ExitCode.OK
        app = create_faust_app(role.parts.settings, role.name)
        role.consume(app, fatal)
        await app.start()
        self._consuming = app
        log.info("worker_started", role=role.name)
        loops = [_guarded(loop) for loop in role.loops(app)]
        await run_with_background(stop.wait(), *loops, _watch_consumer(app), _stop_when_set(role.models_changed, stop))
        log.info("worker_stopping", role=role.name)
        await role.before_stop()
        await app.stop()
        role.close()
        return ExitCode.OUTAGE if role.models_changed.is_set() else ExitCode.OK

    async def _ready_to_start(self, stop: asyncio.Event) -> bool:
        """Wait for what a worker needs; False if stopped meanwhile.

        Faust only logs a missing topic and then consumes nothing, so the topics are among it.
        """
        settings = self.role.parts.settings
        # What is missing is told as it is met: there is a broker that answers though its topics are missing.
        retry = OutageRetry(settings.retry, Outages())
        try:
            await run_with_background(retry.run(self._needs), _raise_when_set(stop))
        except _Stopped:
            return False
        for dependency in ("broker", "catalog", "objects", "vectors"):
            DEPENDENCY_UP.labels(dependency).set(1)
        log.info("dependencies_ready", role=self.role.name, topic_prefix=settings.kafka.topic_prefix)
        return True

    async def _needs(self) -> None:
        parts = self.role.parts
        missing = await missing_topics(parts.settings.kafka)
        if missing:
            raise BrokerOutage(f"topics are missing ({', '.join(missing)}): run `twinlens setup`")
        await parts.ports.catalog.check()
        await self.role.find_models()

    async def checks(self) -> Mapping[str, str]:
        """The state of each dependency and of the consumer, for /readyz."""
        dependencies = self.role.dependencies()
        states = await asyncio.gather(*[_state(check) for check in dependencies.values()])
        found = dict(zip(dependencies, states, strict=True))
        assigned = self._consuming is not None and bool(self._consuming.consumer.assignment())
        found["consumer"] = "ok" if assigned else "no partitions are assigned yet"
        return found


class _Stopped(Exception):
    """The worker is to stop."""


async def _raise_when_set(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _Stopped


async def _stop_when_set(changed: asyncio.Event, stop: asyncio.Event) -> None:
    await changed.wait()
    stop.set()


async def _watch_consumer(app: AppT) -> None:
    """End the process if Faust's consumer ends by itself."""
    await app.wait_until_stopped()
    fatal(app.crash_reason or BrokerOutage("the Kafka consumer stopped by itself"))


async def _guarded(loop: Loop) -> None:
    """A background loop that fails ends the process: a worker without its sweep is only half there."""
    try:
        await loop()
    except Exception as error:
        fatal(error)


async def _state(check: Check) -> str:
    """Say "ok", or what is wrong with a dependency."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:.0f} s"
    except (Outage, ConfigurationError) as error:
        return str(error)
    return "ok"
