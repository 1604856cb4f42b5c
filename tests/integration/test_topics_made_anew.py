"""A topic that is deleted and made anew under a running worker, on the real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from streams.worker import ExitCode
from tests.chaos.live import QUICK, WITHOUT_RECONCILE, Live, until
from tests.contracts.waiting import until as until_async
from tests.integration.faults import as_text, committed
from tests.stack.stack import Addresses
from tests.unit.pictures import picture

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def live(all_servers: Addresses, twinlens_env: dict[str, str], tmp_path: Path) -> Iterator[Live]:
    """An installation of this test's own, set up but not started; nothing is compared by itself."""
    live = Live(all_servers, {**twinlens_env, **QUICK, **WITHOUT_RECONCILE}, tmp_path)
    live.application.setup()
    yield live
    live.stop()


def test_a_topic_made_anew_is_read_from_its_beginning(live: Live) -> None:
    """Nothing is skipped that was sent since, though Faust drops what is below the place that it had read to.

    A worker to which the topic is given anew forgets that place; one that kept it notices, and ends with code 75.
    """
    live.start("ingest", "index")
    for number in range(12):
        live.put(f"before-{number}.png", picture(number))
    assert live.settles().total == 0
    until(lambda: committed(live, "index") >= 12, "the index worker has acknowledged")
    asyncio.run(_delete_contents(live))
    live.application.setup()
    for number in range(3):
        live.put(f"after-{number}.png", picture(100 + number))
    index = live.application.processes["index"]
    settled = live.settles()
    if index.exit_code is not None:
        assert index.exit_code == ExitCode.OUTAGE, index.log_end()
        live.start("index")
        settled = live.settles()
    assert settled.total == 0, as_text(settled.as_json())


async def _delete_contents(live: Live) -> None:
    topic = f"{live.place.topic_prefix}contents"
    client = AIOKafkaAdminClient(bootstrap_servers=live.place.kafka)
    await client.start()
    try:
        await client.delete_topics([topic])
        await until_async(client.list_topics, lambda there: topic not in there)
    finally:
        await client.close()
