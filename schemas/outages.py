"""What is logged of an outage, by every process in the same words: operators look for these."""

from __future__ import annotations

from typing import Any

import structlog

_log = structlog.get_logger(__name__)


def log_down(dependency: str, error: str, **facts: Any) -> None:
    """A dependency does not answer."""
    _log.warning("dependency_down", dependency=dependency, error=error, **facts)


def log_back(dependency: str, **facts: Any) -> None:
    """It answers again."""
    _log.info("dependency_back", dependency=dependency, **facts)
