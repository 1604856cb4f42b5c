"""What verifying two pictures by their local features leads to: a match, none, or why it could not be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from imaging.changes import Change
from imaging.local_match import LocalMatch


class Unverified(StrEnum):
    """Why there is no verified match."""

    NOT_ASKED = "not_asked"
    SAME_BYTES = "same_bytes"
    FAR = "far"
    NOT_AMONG_BEST = "not_among_best"
    NO_PICTURE = "no_picture"
    FEATURELESS = "featureless"
    FEW_FEATURES = "few_features"
    GONE = "gone"
    UNREADABLE = "unreadable"
    BUSY = "busy"
    NO_TIME = "no_time"


@dataclass(frozen=True, slots=True)
class Verified:
    """What local features say of two pictures; ``match`` is None where nothing of the one is found in the other.

    ``changes`` are what makes the one of the other.
    """

    match: LocalMatch | None
    changes: Sequence[Change] = ()

    @property
    def is_copy(self) -> bool:
        """Whether one is a copy of the other, or of a part of it."""
        return self.match is not None and self.match.is_copy


type Verification = Verified | Unverified


def is_copy(verification: Verification) -> bool | None:
    """What it says; None where it says nothing. Of pictures without features, only the same bytes are copies."""
    if isinstance(verification, Verified):
        return verification.is_copy
    return False if verification is Unverified.FEATURELESS else None
