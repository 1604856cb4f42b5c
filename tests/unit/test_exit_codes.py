"""How a worker ends."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError

from imaging.errors import ModelError
from schemas.errors import (
    BrokerOutage,
    CatalogContention,
    ConfigurationError,
    InferenceOutage,
    MessageRefused,
    ObjectStoreOutage,
)
from streams.worker import ExitCode, exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ObjectStoreOutage("away"), ExitCode.OUTAGE),
        (BrokerOutage("away"), ExitCode.OUTAGE),
        (CatalogContention("deadlock"), ExitCode.OUTAGE),
        (KafkaConnectionError("unable to bootstrap"), ExitCode.OUTAGE),
        (MessageRefused("too large"), ExitCode.BUG),
        (InferenceOutage("the device is lost"), ExitCode.OUTAGE),
        (ConfigurationError("wrong model"), ExitCode.CONFIGURATION),
        (ModelError("no such provider"), ExitCode.CONFIGURATION),
        (TypeError("a bug"), ExitCode.BUG),
    ],
)
def test_the_exit_code_says_what_to_do(error: Exception, code: ExitCode) -> None:
    """Outages, Kafka's own among them, ask to be started again; bugs and wrong settings have codes of their own."""
    assert exit_code(error) is code
