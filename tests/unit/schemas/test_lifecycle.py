"""The transitions of contents and images, each by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas import lifecycle
from schemas.lifecycle import Picture, Rules
from schemas.records import (
    ContentId,
    ContentRecord,
    ContentState,
    ImageRecord,
    ImageState,
    Neighbour,
    ObjectRef,
    ObjectState,
    Reason,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WAIT = timedelta(seconds=30)
RULES = Rules(limits="limits", model_name="model@1", max_attempts=3)
REF = ObjectRef("pictures", "k")
CONTENT = ContentRecord("pictures", "a" * 64, vector_id=1, created_at=NOW)
IMAGE = replace(lifecycle.new_image(REF, NOW), etag="e", sha256="a" * 64, version=5)
PENDING, INDEXED, REJECTED, DELETING = ContentState


def content(state: ContentState, **changes: Any) -> ContentRecord:
    """A content in a state, decided under RULES."""
    decided: dict[ContentState, dict[str, Any]] = {
        INDEXED: {"model": "model"},
        REJECTED: {"limits": "limits", "reason": Reason("not_an_image")},
    }
    return replace(CONTENT, state=state, **(decided.get(state, {}) | changes))


def decide(before: ContentRecord, *, referenced: bool = True, retry: bool = False) -> ContentRecord:
    """The decision under RULES, with 2 as the new vector id."""
    return lifecycle.decide(before, RULES, 2, NOW, WAIT, referenced=referenced, retry=retry)


@pytest.mark.parametrize("state", ContentState)
def test_a_content_that_nothing_refers_to_is_deleted(state: ContentState) -> None:
    """Whatever its state was."""
    assert decide(content(state), referenced=False).state is DELETING


def test_a_reference_to_a_content_that_is_being_deleted_can_not_be() -> None:
    """Whoever adds a reference leaves DELETING with it, so the opposite is a bug that must be heard of."""
    with pytest.raises(AssertionError):
        decide(content(DELETING))


@pytest.mark.parametrize(
    ("before", "state"),
    [
        (content(PENDING), PENDING),
        (content(PENDING, attempts=2), PENDING),
        (content(PENDING, attempts=3), REJECTED),
        (content(INDEXED), INDEXED),
        (content(INDEXED, model="another"), PENDING),
        (content(REJECTED), REJECTED),
        (content(REJECTED, limits="others"), PENDING),
    ],
)
def test_what_a_content_that_is_referred_to_becomes(before: ContentRecord, state: ContentState) -> None:
    """Attempts are counted and end, and what other limits or another model decided is decided anew."""
    after = decide(before)
    assert after.state is state
    assert after.attempts == before.attempts + (state is PENDING)
    assert (after.version > before.version) == (after.state is not before.state)


def test_a_retry_tries_what_was_rejected_under_the_same_limits() -> None:
    """And leaves what is indexed alone."""
    assert decide(content(REJECTED), retry=True).state is PENDING
    assert decide(content(INDEXED), retry=True) == content(INDEXED)


def test_a_restart_takes_a_new_vector_id_and_remembers_the_old_one() -> None:
    """So that a stalled worker can only touch what nobody uses, and what it stored is deleted."""
    before = content(REJECTED, retired=(7,), attempts=3, nearest=(Neighbour("b" * 64, 1.0),))
    after = lifecycle.restart(before, 2)
    assert (after.state, after.vector_id, after.retired) == (PENDING, 2, (7, 1))
    assert (after.attempts, after.reason, after.limits, after.nearest) == (0, None, None, ())
    assert lifecycle.forget_retired(after, [7]).retired == (1,)


def test_the_dirty_mark_is_cleared_only_for_what_was_read() -> None:
    """Not if the content was marked again, or made anew, since."""
    marked = lifecycle.mark_dirty(CONTENT, NOW, WAIT)
    assert (marked.dirty_since, marked.resend_due) == (NOW, NOW + WAIT)
    cleared = lifecycle.clear_dirty(marked, marked)
    assert (cleared.dirty_since, cleared.resend_due) == (None, None)
    again = lifecycle.mark_dirty(marked, NOW + WAIT, WAIT)
    assert again.dirty_since == NOW
    assert lifecycle.clear_dirty(again, marked) == again
    anew = replace(marked, vector_id=9)
    assert lifecycle.clear_dirty(anew, marked) == anew


def test_only_what_is_dirty_is_postponed() -> None:
    """Whoever finished it meanwhile has taken it off the to-do list."""
    assert lifecycle.postpone(CONTENT, NOW) == CONTENT
    assert lifecycle.postpone(lifecycle.mark_dirty(CONTENT, NOW, WAIT), NOW).resend_due == NOW


@pytest.mark.parametrize(("state", "after"), [(PENDING, PENDING), (REJECTED, REJECTED), (DELETING, PENDING)])
def test_a_reference_marks_every_content_but_an_indexed_one(state: ContentState, after: ContentState) -> None:
    """Only for an indexed one nothing is left to do; one that is being deleted comes back."""
    gained = lifecycle.gain_reference(content(state), 2, NOW, WAIT)
    assert (gained.state, gained.dirty_since, gained.version) == (after, NOW, 1)
    assert lifecycle.gain_reference(content(INDEXED), 2, NOW, WAIT) == content(INDEXED)
    assert lifecycle.lose_reference(content(INDEXED), NOW, WAIT).dirty_since == NOW


def test_a_result_is_recorded_only_for_the_attempt_that_waits_for_it() -> None:
    """The fence: state and vector id."""
    assert lifecycle.awaits(content(PENDING), CONTENT)
    assert not lifecycle.awaits(content(PENDING, vector_id=2), CONTENT)
    assert not lifecycle.awaits(content(INDEXED), CONTENT)
    assert not lifecycle.awaits(None, CONTENT)
    assert lifecycle.is_deletable(content(DELETING), CONTENT)
    assert not lifecycle.is_deletable(content(DELETING, vector_id=2), CONTENT)
    assert lifecycle.has_lost(content(INDEXED), CONTENT)
    assert not lifecycle.has_lost(content(INDEXED, vector_id=2), CONTENT)


def test_an_attempt_is_refunded_once_and_only_to_the_life_that_it_was_made_in() -> None:
    """Never below none."""
    begun = lifecycle.begin_attempt(CONTENT)
    assert lifecycle.was_attempted(begun)
    assert lifecycle.refund_attempt(begun, begun).attempts == 0
    assert lifecycle.refund_attempt(CONTENT, begun).attempts == 0
    assert lifecycle.refund_attempt(replace(begun, vector_id=2), begun).attempts == 1


def test_an_indexed_content_says_what_was_learnt() -> None:
    """Model, size, format, neighbours; and it has no attempts to its name."""
    nearest = (Neighbour("b" * 64, 99.0),)
    after = lifecycle.record_indexed(
        content(PENDING, attempts=2), Picture(3, 4, "png", "m" * 32, 0.75), "model", nearest, NOW
    )
    assert (after.state, after.model, after.attempts, after.nearest) == (INDEXED, "model", 0, nearest)
    assert (after.width, after.height, after.format, after.md5, after.indexed_at) == (3, 4, "png", "m" * 32, NOW)
    assert after.decoded_share == 0.75


@pytest.mark.parametrize(
    ("image", "row", "state"),
    [
        (replace(IMAGE, etag=None), content(INDEXED), ImageState.REMOVED),
        (replace(IMAGE, reason=Reason("empty")), None, ImageState.REJECTED),
        (IMAGE, None, ImageState.PENDING),
        (IMAGE, content(PENDING), ImageState.PENDING),
        (IMAGE, content(DELETING), ImageState.PENDING),
        (IMAGE, content(REJECTED), ImageState.REJECTED),
        (IMAGE, content(INDEXED), ImageState.INDEXED),
    ],
)
def test_what_a_person_is_told_of_an_image(image: ImageRecord, row: ContentRecord | None, state: ImageState) -> None:
    """It follows from its own row and its content's."""
    assert lifecycle.image_state(image, row)[0] is state


def test_what_is_published_is_marked_before_it_is_sent() -> None:
    """A row whose last snapshot is still the truth, and one that says that there is something, need no mark."""
    published = lifecycle.record_published(IMAGE, content(INDEXED), 6, NOW, WAIT)
    assert lifecycle.is_published(published, content(INDEXED))
    assert lifecycle.is_announced(published, content(INDEXED))
    assert not lifecycle.is_announced(published, content(REJECTED))
    assert lifecycle.is_announced(lifecycle.mark_to_publish(published, NOW, WAIT), content(REJECTED))
    told_pending = lifecycle.record_published(IMAGE, content(PENDING), 6, NOW, WAIT)
    assert lifecycle.is_announced(told_pending, content(INDEXED))
    assert published.published_state == lifecycle.published_state_of(content(INDEXED))


def test_versions_rise_with_the_clock_and_without_it() -> None:
    """A clock that was set back does not make a version fall."""
    ahead = replace(IMAGE, version=2**60)
    assert lifecycle.next_version(ahead, NOW) == 2**60 + 1
    assert lifecycle.next_version(IMAGE, NOW) == int(NOW.timestamp()) * 1_000_000


def test_an_object_is_recorded_as_it_was_seen() -> None:
    """Its state, its digest, and the announcement that led there; new since it came, not since its row."""
    state = ObjectState(REF, "e2", 3, NOW, "image/png", {"external-id": "caf%C3%A9", "x": "y" * 3000})
    later = NOW + WAIT
    seen = lifecycle.record_object(lifecycle.new_image(REF, NOW), state, "b" * 64, None, "5F", later, WAIT)
    assert (seen.etag, seen.size, seen.sha256, seen.sequencer) == ("e2", 3, "b" * 64, "5F")
    assert (seen.external_id, seen.metadata) == ("café", {"external-id": "caf%C3%A9"})
    assert (seen.created_at, seen.updated_at, seen.publish_due) == (later, later, later + WAIT)
    assert seen.content_id == ContentId("pictures", "b" * 64)
    gone = lifecycle.record_absence(seen, "60", later, WAIT)
    assert (gone.exists, gone.content_id, gone.sequencer, gone.version > seen.version) == (False, None, "60", True)


@pytest.mark.parametrize("reason", [Reason("empty"), Reason("not_an_image", "this is text: or so")])
def test_a_reason_is_read_back_as_it_was_written(reason: Reason) -> None:
    """Slug and sentence, whatever stands in the sentence."""
    assert Reason.parse(str(reason)) == reason


def test_a_long_reason_is_cut_to_what_a_row_holds() -> None:
    """With its slug whole."""
    assert len(str(Reason("gave_up", "x" * 1000))) == 500


def test_a_content_of_another_file_of_the_model_is_outdated() -> None:
    """The id alone, from before there were fingerprints, counts as the same; another fingerprint does not."""
    models = {"model@1": False, "model": False, "model@2": True, "other@1": True}
    assert {model: lifecycle.is_outdated(content(INDEXED, model=model), RULES) for model in models} == models


SWITCHING = Rules(limits="limits", model_name="model@1", max_attempts=3, other_model="new@2#tag")


def test_an_indexed_content_is_brought_over_once_and_stays_indexed() -> None:
    """It keeps state and vector id; an attempt counts, and none is begun once they are used up, or it is done."""
    before = content(INDEXED)
    assert lifecycle.decide(before, RULES, 2, NOW, WAIT, referenced=True) == before
    begun = lifecycle.decide(before, SWITCHING, 2, NOW, WAIT, referenced=True)
    assert begun == replace(before, attempts=1)
    assert lifecycle.was_brought_over(begun, SWITCHING)
    assert lifecycle.refund_attempt(begun, begun) == before
    used_up = replace(before, attempts=3)
    assert lifecycle.decide(used_up, SWITCHING, 2, NOW, WAIT, referenced=True) == used_up
    done = lifecycle.record_other(begun, SWITCHING)
    assert (done.state, done.model, done.other_model, done.attempts) == (INDEXED, "model", "new@2#tag", 0)
    assert lifecycle.decide(done, SWITCHING, 2, NOW, WAIT, referenced=True) == done
    assert lifecycle.forget_other(done, SWITCHING) == replace(before, model="model", other_model=None)


@pytest.mark.parametrize("mark", ["new@2", "new@2#another", None])
def test_only_what_this_switch_stored_counts(mark: str | None) -> None:
    """The mark of an earlier switch to the same model, or of a time when it was in use, makes room for this one's."""
    before = content(INDEXED, model=mark, other_model="model@1#first")
    assert lifecycle.lacks_other(before, SWITCHING)
    assert not lifecycle.is_outdated(before, SWITCHING)
    done = lifecycle.record_other(before, SWITCHING)
    assert (done.model, done.other_model) == ("model@1#first", "new@2#tag")


@pytest.mark.parametrize(("in_use", "outdated"), [("new@2#tag", False), ("new@2", False), ("third@3", True)])
def test_after_the_swap_what_was_brought_over_is_no_older_than_what_is_new(in_use: str, outdated: bool) -> None:
    """Either of two marks will do, so that a swap writes no content."""
    both = content(INDEXED, model="model@1", other_model="new@2#tag")
    assert lifecycle.is_outdated(both, replace(RULES, model_name=in_use)) is outdated
    assert lifecycle.decide(both, replace(RULES, model_name=in_use), 2, NOW, WAIT, referenced=True).state is (
        PENDING if outdated else INDEXED
    )
