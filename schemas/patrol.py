"""What is remembered of the patrol's last round in a bucket, for people to be shown."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Rule(StrEnum):
    """What a look at a bucket's notification rule found."""

    NONE = "none"
    """The settings want none."""
    KEPT = "kept"
    PUT_BACK = "put_back"
    FAILED = "failed"
    """It could not be looked at or put back."""


class PatrolRound(BaseModel):
    """One comparison of a bucket's objects with the catalog, from its start to its end."""

    model_config = ConfigDict(frozen=True)

    bucket: str
    started: datetime
    finished: datetime
    objects: int
    differences: int = Field(description="Objects that the catalog did not agree about; a look at each was asked for.")
    refused: tuple[str, ...] = Field(description="Removals that were refused because they were too many.")
    rule: Rule = Field(description="The bucket's notification rule: none (not wanted), kept, put_back or failed.")


def last_round_name(bucket: str) -> str:
    """The name of the progress that holds the last round in a bucket."""
    return f"patrol:{bucket}:last"
