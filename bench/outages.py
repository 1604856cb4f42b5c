"""How long catching up takes after a server was away for a minute, while pictures keep coming."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext

from bench.bench import Bench, Server
from bench.figures import Figure, Result
from bench.objects import Stream
from bench.running import Running, wait
from tests.harness.stack.supervisor import Supervisor

_LOOK_S = 0.25
_AT_MOST_S = 600
_SETTLED = (
    "SELECT COUNT(*) FROM images i JOIN contents c ON c.bucket = i.bucket AND c.sha256 = i.content_sha256"
    " WHERE i.bucket = %s AND i.object_key >= %s AND i.object_key < %s"
    " AND c.state = 'indexed' AND i.publish_due IS NULL"
)


def measure(bench: Bench) -> Result:
    """One outage after the other: of Kafka, and of the database."""
    figures: list[Figure] = []
    with bench.installation.comparing() if bench.scale.compares else nullcontext():
        for server in bench.scale.outages:
            bench.say(f"an outage of the {server} server, {bench.scale.outage_s:.0f} s")
            figures += _outage(bench, server)
    return Result("outages", figures)


def _outage(bench: Bench, server: Server) -> Iterator[Figure]:
    """Seconds from the server's answering again until what was put before that is searchable and published."""
    installation, running, scale = bench.installation, bench.installation.running, bench.scale
    prefix, program = f"outage-{server}/", installation.database if server == "database" else "kafka"

    def data(number: int) -> bytes:
        return bench.photographs.salted(prefix, number)

    with Stream(running.s3, running.place.bucket, prefix, data, per_second=scale.stream_per_second) as stream:
        wait(lambda: _settled(running, prefix, stream.put) > 0, "the first picture is indexed", every_s=_LOOK_S)
        supervisor = installation.supervisor()
        installation.kill_server(program)
        running.catalog.forget_connection()
        _let_last(scale.outage_s, supervisor)
        installation.start_server(program)
        back, missed = time.perf_counter(), stream.put

        def caught_up() -> bool:
            supervisor.look()
            return _settled(running, prefix, missed) >= missed

        waiting = missed - _settled(running, prefix, missed)
        wait(caught_up, f"all is done after the outage of {server}", every_s=_LOOK_S, at_most_s=_AT_MOST_S)
        yield Figure(f"catch_up_{server}", time.perf_counter() - back, "s")
        yield Figure(f"missed_{server}", waiting, "pictures")


def _let_last(seconds: float, supervisor: Supervisor) -> None:
    """An outage has to last, and workers that give up meanwhile are started again."""
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        supervisor.look()
        time.sleep(_LOOK_S)


def _settled(running: Running, prefix: str, number: int) -> int:
    """How many of the first so many pictures of a stream are searchable and published."""
    bounds = f"{prefix}{0:06}".encode(), f"{prefix}{number:06}".encode()
    return int(running.catalog.row(_SETTLED, running.place.bucket, *bounds)[0])
