"""How processes end, and who is told."""

from __future__ import annotations

import re
from pathlib import Path

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
from schemas.exit_codes import ExitCode
from streams.process.worker import exit_code

ROOT = Path(__file__).parents[2]


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


def test_the_exit_codes_are_documented() -> None:
    """Each has a row in docs/commands.md, and those of processes in docs/operations.md; nothing else has one."""
    codes = re.findall(r"^\| (\d+) \|", (ROOT / "docs/commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(code) for code in codes] == sorted(ExitCode)
    codes = re.findall(r"^\| (\d+) \|", (ROOT / "docs/operations.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(code) for code in codes] == [ExitCode.OK, ExitCode.BUG, ExitCode.OUTAGE, ExitCode.CONFIGURATION]


def test_what_is_no_python_ends_with_the_same_codes() -> None:
    """The chart's setup gives up, and the compose file's secrets are refused, by the code of a wrong setting."""
    chart = (ROOT / "ops/helm/twinlens/templates/setup.yaml").read_text(encoding="utf-8")
    assert re.findall(r"onExitCodes: .*\[(\d+)\]", chart) == [str(int(ExitCode.CONFIGURATION))]
    secrets = (ROOT / "ops/compose/make-secrets.sh").read_text(encoding="utf-8")
    assert set(re.findall(r"exit (\d+)", secrets)) == {str(int(ExitCode.CONFIGURATION))}
