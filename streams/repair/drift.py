"""What may differ between bucket, catalog and vectors, and the report of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

from schemas.records import ContentId, ObjectRef

EXAMPLES_KEPT = 20
"""Subjects named per kind of drift; the rest is only counted, so that a report stays small."""


class DriftKind(StrEnum):
    """Each way in which two of the three stores can disagree."""

    MISSING = "missing"
    """An object without a row."""
    STALE = "stale"
    """A row about an earlier version of the object, or a decision under limits or a model that have changed."""
    UNREADABLE = "unreadable"
    """An object or a content that could not be read when it was last looked at."""
    ORPHAN_ROW = "orphan_row"
    """A row without an object."""
    LEFT_OUT = "left_out"
    """A row of a folder, or of an object that ``objects.exclude`` leaves out."""
    ORPHAN_CONTENT = "orphan_content"
    """A content that no image refers to, and that nobody is removing."""
    ORPHAN_VECTOR = "orphan_vector"
    """A vector, or a view, that no content carries, or that a rejected one does."""
    MISSING_VECTOR = "missing_vector"
    """An indexed content without its vector, or without one of its views."""
    PENDING_TOO_LONG = "pending_too_long"
    """A content that the sweep should have brought to its end long ago."""


class VectorRef(NamedTuple):
    """A vector by its id."""

    bucket: str
    vector_id: int

    def __str__(self) -> str:
        return f"{self.bucket}/vector {self.vector_id}"


class Drift(NamedTuple):
    """One difference. ``seen`` tells the versions of one object or row apart: equal drifts are the same difference."""

    kind: DriftKind
    subject: ObjectRef | ContentId | VectorRef
    seen: Hashable = None


class Phase(StrEnum):
    """The parts of a run, in order."""

    OBJECTS = "objects"
    REMOVALS = "removals"
    VECTORS = "vectors"
    SECOND_LOOK = "second_look"
    DONE = "done"


class ComparedCounts(NamedTuple):
    """How much was looked at."""

    objects: int = 0
    rows: int = 0
    contents: int = 0
    vectors: int = 0

    def plus(self, other: ComparedCounts) -> ComparedCounts:
        """The sums."""
        return ComparedCounts(*[mine + theirs for mine, theirs in zip(self, other, strict=True)])


@dataclass(slots=True)
class Report:
    """What one run over one bucket found and did so far."""

    bucket: str
    prefix: str
    started: datetime
    dry_run: bool = False
    phase: Phase = Phase.OBJECTS
    compared: ComparedCounts = field(default_factory=ComparedCounts)
    drift: Counter[DriftKind] = field(default_factory=Counter)
    examples: dict[DriftKind, list[str]] = field(default_factory=dict)
    hints: int = 0
    """Messages sent to have something looked at."""
    vectors_deleted: int = 0
    refused: list[str] = field(default_factory=list)
    """Removals that were refused because they were too many, one sentence each."""
    resumed: bool = False

    @property
    def differences(self) -> int:
        """The number of all differences found."""
        return self.drift.total()

    def note(self, drift: Drift) -> None:
        """Count a difference, and name it if few of its kind were named before."""
        self.drift[drift.kind] += 1
        named = self.examples.setdefault(drift.kind, [])
        if len(named) < EXAMPLES_KEPT:
            named.append(str(drift.subject))

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values; every kind is named, also those with nothing found."""
        return {
            "bucket": self.bucket,
            "prefix": self.prefix,
            "started": self.started.isoformat(),
            "dry_run": self.dry_run,
            "phase": str(self.phase),
            "resumed": self.resumed,
            "compared": self.compared._asdict(),
            "differences": self.differences,
            "drift": {str(kind): self.drift[kind] for kind in DriftKind},
            "examples": {str(kind): named for kind, named in self.examples.items()},
            "hints": self.hints,
            "vectors_deleted": self.vectors_deleted,
            "refused": list(self.refused),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Self:
        """A report as it was saved, to be gone on with."""
        return cls(
            bucket=saved["bucket"],
            prefix=saved["prefix"],
            started=datetime.fromisoformat(saved["started"]),
            dry_run=saved["dry_run"],
            phase=Phase(saved["phase"]),
            compared=ComparedCounts(**saved["compared"]),
            drift=Counter({DriftKind(kind): count for kind, count in saved["drift"].items() if count}),
            examples={DriftKind(kind): list(named) for kind, named in saved["examples"].items()},
            hints=saved["hints"],
            vectors_deleted=saved["vectors_deleted"],
            refused=list(saved["refused"]),
            resumed=True,
        )
