"""The Kafka topics: their names under a prefix, and how each is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

DEFAULT_PREFIX: Final = "twinlens."


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of all topics; ``prefix`` keeps several installations on one cluster apart."""

    prefix: str = DEFAULT_PREFIX

    @property
    def bucket_events(self) -> str:
        """S3 event records, keyed by ``bucket/key``: hints to look at an object."""
        return f"{self.prefix}bucket-events"

    @property
    def image_requests(self) -> str:
        """What external producers ask for."""
        return f"{self.prefix}image-requests"

    @property
    def request_outcomes(self) -> str:
        """What became of each request, keyed by request id."""
        return f"{self.prefix}request-outcomes"

    @property
    def contents(self) -> str:
        """``ContentChanged``, keyed by ``bucket/sha256``: make the index agree about this content."""
        return f"{self.prefix}contents"

    @property
    def image_changes(self) -> str:
        """``ImageChanged`` snapshots, keyed by ``bucket/key``, compacted."""
        return f"{self.prefix}image-changes"

    @property
    def dead_letters(self) -> str:
        """Messages that could not be handled, unchanged, with where they came from in the headers."""
        return f"{self.prefix}dead-letters"


SMALL_MESSAGE_BYTES: Final = 256 * 1024
"""The limit of the topics that carry no pictures, whose messages have some kilobytes: it bounds what a worker holds."""


class TopicSpec(NamedTuple):
    """How ``twinlens setup`` creates a topic. ``retention_ms`` of None leaves the broker's default."""

    name: str
    cleanup_policy: str
    retention_ms: int | None
    max_message_bytes: int


DEAD_LETTERS_KEPT: Final = 4
"""Times as long as the rest."""
_DAY_MS = 24 * 3600 * 1000


def topic_specs(topics: Topics, *, retention_days: int, max_message_bytes: int) -> list[TopicSpec]:
    """All topics. Dead letters are kept DEAD_LETTERS_KEPT times as long; changes are compacted for ever.

    Requests, and what is put aside, may have ``max_message_bytes``.
    """
    kept = retention_days * _DAY_MS
    small = min(SMALL_MESSAGE_BYTES, max_message_bytes)
    return [
        TopicSpec(topics.bucket_events, "delete", kept, small),
        TopicSpec(topics.image_requests, "delete", kept, max_message_bytes),
        TopicSpec(topics.request_outcomes, "delete", kept, small),
        TopicSpec(topics.contents, "delete", kept, small),
        TopicSpec(topics.image_changes, "compact", None, small),
        TopicSpec(topics.dead_letters, "delete", DEAD_LETTERS_KEPT * kept, max_message_bytes),
    ]
