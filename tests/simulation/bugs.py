"""Bugs that are planted into the handlers, one at a time: the simulation has to find each of them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from schemas import lifecycle
from stores.vectors.views import VectorsWithViews
from streams import publish
from streams.common.checkpoints import Step
from streams.index import converge_contents
from streams.ingest import converge_objects, look
from streams.repair import comparison_requests, sweep
from tests.simulation import mistakes
from tests.simulation.planting import Replacements, planted
from tests.simulation.switches import End


@dataclass(frozen=True, slots=True)
class Bug:
    """What is wrong, and where: functions of the handlers, and what takes their place.

    ``focus`` makes runs likelier in which it shows; the checks are the same. ``seed`` is that of a run in which it
    showed once: tests try it first, and search only where the handlers have changed since (`--bug` prints others).
    """

    wrong: str
    replacements: Replacements
    focus: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def planted(self) -> AbstractContextManager[None]:
        """The handlers have this bug meanwhile."""
        return planted(self.replacements)


ONE_KEY: dict[str, Any] = {"keys": 1, "stall": 0.3}
FEW: dict[str, Any] = ONE_KEY | {"pictures": 1}
CALM: dict[str, Any] = FEW | {"operations": 10, "deletes": 0.45, "lost_vectors": 0.0, "disturbance": 0.0, "haste": 0.0}
"""One key that comes and goes, each time when all workers wait or stall."""
TWO_KEYS: dict[str, Any] = {"keys": 2, "stall": 0.3, "operations": 8}
"""A reference that should not be there is found out by the index side, unless another key has the same bytes."""
PUBLISHED_LATE: dict[str, Any] = FEW | {
    "stall": 0.5,
    "stall_at": (Step.CONTENT_SENT, Step.ATTEMPT_COMMITTED, Step.IMAGE_SENT),
    "operations": 12,
    "deletes": 0.0,
    "lost_vectors": 0.4,
    "crashes": 6,
    "losses": 0,
    "haste": 0.05,
    "zombies": 0.0,
}
"""An ingest worker publishes what another one has published already, while the content is pending again."""

MISREAD: dict[str, Any] = ONE_KEY | {"misreads": 3, "operations": 8, "pictures": 1}
ERASED: dict[str, Any] = FEW | {"tombstone_after_s": 0, "late_tombstones": 0.5, "operations": 10, "deletes": 0.45}

SWITCHED: dict[str, Any] = ONE_KEY | {"operations": 10, "switches": (End.FINISHED,), "haste": 0.1, "lost_vectors": 0.0}

VIEWED: dict[str, Any] = {"keys": 1, "views": "quarters", "operations": 6}

BUGS: dict[str, Bug] = {
    "row_before_vector": Bug(
        "the row of an unreferenced content is deleted before its vector",
        {converge_contents.remove: mistakes.remove_row_first},
        CALM | {"stall_at": (Step.VECTOR_DELETED,), "crashes": 6},
    ),
    "deleting_ignored": Bug(
        "a reference is added to a content that is being deleted, which stays so",
        {lifecycle.gain_reference: mistakes.gain_without_restart},
        seed=108,
    ),
    "no_second_head": Bug(
        "the object is not looked at again while its row is locked",
        {look.still_as_seen: mistakes.look_once},
        TWO_KEYS | {"stall_at": (Step.OBJECT_READ,)},
    ),
    "vector_id_reused": Bug(
        "a content that comes back keeps its vector id",
        {lifecycle.restart: mistakes.restart_under_the_old_id},
        CALM | {"stall_at": (Step.DELETING_COMMITTED,)},
    ),
    "old_vector_id_forgotten": Bug(
        "a content that comes back forgets the vector that was to be deleted",
        {lifecycle.restart: mistakes.restart_without_memory},
        CALM | {"stall_at": (Step.DELETING_COMMITTED,), "crashes": 6},
        seed=300,
    ),
    "no_dirty_mark": Bug(
        "a changed content is not put on the to-do list with the change",
        {lifecycle.gain_reference: mistakes.gain_unmarked, lifecycle.lose_reference: mistakes.lose_unmarked},
    ),
    "no_fence": Bug(
        "a vector is recorded as indexed though the content has another vector id by now",
        {lifecycle.awaits: mistakes.awaits_any},
        CALM | {"stall_at": (Step.CONTENT_EMBEDDED,)},
        seed=582,
    ),
    "removal_not_fenced": Bug(
        "the row is deleted after its vector, though the content was born again in between",
        {lifecycle.is_deletable: mistakes.always_deletable},
        CALM | {"stall_at": (Step.VECTOR_DELETED,)},
    ),
    "gone_unlocked": Bug(
        "an object that is in neither bucket nor catalog is taken for settled without locking its row",
        {converge_objects.record_looks: mistakes.record_present_only},
        TWO_KEYS | {"stall_at": (Step.CONTENT_LOCKED,), "pictures": 1},
    ),
    "unchanged_unlocked": Bug(
        "an object that looks like its row is taken for settled without locking the row",
        {converge_objects.record_looks: mistakes.record_changed_only},
        TWO_KEYS | {"stall_at": (Step.CONTENT_LOCKED,), "pictures": 2},
        seed=1188,
    ),
    "cleared_before_published": Bug(
        "the dirty mark is cleared before the images are published",
        {converge_contents.settle: mistakes.settle_cleared},
        FEW | {"operations": 8, "crashes": 6, "stall_at": (Step.IMAGE_SENT,)},
        seed=191,
    ),
    "cleared_whatever_version": Bug(
        "the dirty mark is cleared though the content has changed since it was read",
        {lifecycle.clear_dirty: mistakes.clear_any_version},
        CALM | {"stall_at": (Step.INDEXED_COMMITTED,), "losses": 4},
        seed=331,
    ),
    "stale_vector_kept": Bug(
        "a worker that was overtaken leaves its vector behind",
        {converge_contents.stale_vectors: mistakes.nothing_is_stale},
        CALM | {"stall_at": (Step.CONTENT_EMBEDDED,)},
    ),
    "publication_not_marked": Bug(
        "a changed image is not put on the to-do list of the publisher",
        {
            lifecycle.record_object: mistakes.record_object_unmarked,
            lifecycle.record_absence: mistakes.record_absence_unmarked,
        },
        FEW | {"operations": 8, "crashes": 6, "stall_at": (Step.OBJECT_COMMITTED,)},
    ),
    "version_sent_twice": Bug(
        "a snapshot is sent again with the version of another one",
        {publish.snapshot: mistakes.snapshot_of_the_mark},
    ),
    "sent_unmarked": Bug(
        "a snapshot is sent of which the row does not say that it is to be sent",
        {publish.is_announced: mistakes.always_announced},
        PUBLISHED_LATE,
        seed=1739,
    ),
    "published_unlocked": Bug(
        "snapshots are sent without holding the image's row",
        {publish.lock_images: mistakes.read_images, publish.publish_locked: mistakes.publish_read},
    ),
    "decided_unlocked": Bug(
        "whether a content is still needed is decided without locking its row",
        {converge_contents.decide: mistakes.decide_unlocked},
        FEW,
        seed=101,
    ),
    "referenced_unlocked": Bug(
        "a reference is added to a content without locking its row",
        {converge_objects.record_looks: mistakes.record_with_unlocked_contents},
    ),
    "digest_not_checked": Bug(
        "whatever the object holds by now is embedded in the content's name",
        {converge_contents.matching_md5: mistakes.any_bytes},
        ONE_KEY | {"stall_at": (Step.ATTEMPT_COMMITTED,)},
    ),
    "left_content_forgotten": Bug(
        "the content that an image leaves is not marked",
        {converge_objects.concerned: mistakes.concerned_by_the_new},
    ),
    "no_sweep_of_contents": Bug(
        "the sweep takes up images only",
        {sweep.due_contents: mistakes.no_due_contents},
    ),
    "deleting_carries": Bug(
        "a content that is being deleted counts as carrying its vector",
        {converge_contents.stale_vectors: mistakes.stale_without_row},
        CALM | {"stall_at": tuple(Step), "workers": 6},
        seed=1376,
    ),
    "sequencer_of_another": Bug(
        "an announcement counts as looked at though the row remembers the sequencer of another one",
        {look.looked_at_already: mistakes.same_bytes_suffice},
        TWO_KEYS | {"stall_at": (Step.CONTENT_LOCKED,), "pictures": 2},
    ),
    "sequencer_before_look": Bug(
        "a row remembers the sequencer of an announcement that came after its look",
        {converge_objects._recorded_images: mistakes.record_newest_sequencer},
        FEW | {"operations": 8, "deletes": 0.1, "stall_at": (Step.CONTENT_LOCKED,)},
    ),
    "digest_trusted": Bug(
        "the bytes of an object that looks like its row are not read again, though the index found others",
        {look.observe: mistakes.observe_without_doubt},
        MISREAD,
    ),
    "digests_not_compared": Bug(
        "an object that was read agrees with a row that has another digest",
        {converge_objects._agrees: mistakes.agrees_by_looks},
        MISREAD,
    ),
    "late_tombstone_forgotten": Bug(
        "an image that came back is not published again when a late tombstone may have erased it",
        {lifecycle.may_be_erased: mistakes.never_erased_late},
        ERASED,
    ),
    "retired_forgotten_first": Bug(
        "a content forgets its retired vectors before they are deleted",
        {converge_contents.delete_retired: mistakes.forget_retired_first},
        CALM | {"stall_at": (Step.DELETING_COMMITTED,), "crashes": 6},
        seed=1399,
    ),
    "away_bucket_forgotten": Bug(
        "hints about a bucket that is away are acknowledged, and nothing is left to be done",
        {comparison_requests.request_comparison: mistakes.want_nothing},
        {"bucket_outages": 2, "operations": 10},
    ),
    "unreadable_never_retried": Bug(
        "the sweep leaves what could not be read as it is",
        {sweep.retry_unreadable: mistakes.retry_nothing},
        {"denials": 3, "operations": 10},
    ),
    "unreadable_taken_for_known": Bug(
        "an object that can't be read is taken for described though only a listing told of it",
        {lifecycle.look_again: mistakes.never_look_again},
        {"keys": 1, "pictures": 1, "denials": 3, "operations": 10, "deletes": 0.0, "haste": 0.3},
    ),
    "switch_unfenced": Bug(
        "a content is recorded as indexed by a worker that does not know yet which models are served",
        {converge_contents.record: mistakes.record_whatever_is_served},
        SWITCHED | {"stall_at": (Step.VECTOR_STORED,)},
        seed=14,
    ),
    "stored_for_one_model": Bug(
        "while models are switched, new pictures are stored for the old one only",
        {converge_contents.store_other: mistakes.store_for_one},
        SWITCHED,
        seed=97,
    ),
    "views_left_behind": Bug(
        "the views of a content are not deleted with it",
        {VectorsWithViews.delete: mistakes.delete_wholes},
        VIEWED,
    ),
    "views_not_stored": Bug(
        "a content is stored without its views",
        {VectorsWithViews.upsert: mistakes.upsert_wholes},
        VIEWED,
    ),
    "lost_view_not_missed": Bug(
        "a content that has lost a view counts as complete",
        {VectorsWithViews.incomplete: mistakes.nothing_lacks},
        VIEWED | {"lost_vectors": 0.5},
        seed=13,
    ),
}
