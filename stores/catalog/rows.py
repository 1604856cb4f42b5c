"""Between table rows and records. Rows are taken apart by the order of the columns, since names take longer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from schemas.lifecycle import listed_state
from schemas.model_switch import ModelSwitch, ServedModel, SwitchState
from schemas.records import ContentRecord, ContentState, ImageRecord, Neighbour, Reason

THE_SWITCH: Final = 1
"""The id of the one row of ``model_switch``."""


def image_record(row: Iterable[Any]) -> ImageRecord:
    """A row of ``images``, all columns, as a record."""
    (
        seq, image_id, bucket, key, external_id, sha256, etag, size, last_modified, content_type, metadata, reason,
        sequencer, version, published_version, published_state, publish_due, created_at, updated_at,
        retry_due, _,
    ) = row  # fmt: skip
    return ImageRecord(
        id=image_id,
        bucket=bucket,
        key=key,
        seq=seq,
        external_id=external_id,
        sha256=sha256,
        etag=etag,
        size=size,
        last_modified=last_modified,
        content_type=content_type,
        metadata=metadata,
        reason=None if reason is None else Reason.parse(reason),
        sequencer=sequencer,
        version=version,
        published_version=published_version,
        published_state=published_state,
        publish_due=publish_due,
        created_at=created_at,
        updated_at=updated_at,
        retry_due=retry_due,
    )


def image_values(image: ImageRecord) -> dict[str, Any]:
    """The columns of ``images`` for a record, all but ``seq``."""
    return {
        "id": image.id,
        "bucket": image.bucket,
        "object_key": image.key,
        "external_id": image.external_id,
        "content_sha256": image.sha256,
        "etag": image.etag,
        "size": image.size,
        "last_modified": image.last_modified,
        "content_type": image.content_type,
        "metadata": dict(image.metadata),
        "reason": None if image.reason is None else str(image.reason),
        "sequencer": image.sequencer,
        "version": image.version,
        "published_version": image.published_version,
        "published_state": image.published_state,
        "publish_due": image.publish_due,
        "created_at": image.created_at,
        "updated_at": image.updated_at,
        "retry_due": image.retry_due,
        "state": str(listed_state(image)[0]),
    }


def content_record(row: Iterable[Any]) -> ContentRecord:
    """A row of ``contents``, all columns, as a record."""
    (
        bucket, sha256, vector_id, state, md5, reason, limits, attempts, model, version, dirty_since, resend_due,
        width, height, kind, nearest, created_at, indexed_at, retired,
        retry_due, _, _, other_model, decoded_share,
    ) = row  # fmt: skip
    return ContentRecord(
        bucket=bucket,
        sha256=sha256,
        vector_id=vector_id,
        state=ContentState(state),
        md5=md5,
        reason=None if reason is None else Reason.parse(reason),
        limits=limits,
        attempts=attempts,
        model=model,
        version=version,
        dirty_since=dirty_since,
        resend_due=resend_due,
        width=width,
        height=height,
        format=kind,
        nearest=tuple([_neighbour(entry) for entry in nearest]),
        created_at=created_at,
        indexed_at=indexed_at,
        retired=tuple(retired or ()),
        retry_due=retry_due,
        other_model=other_model,
        decoded_share=decoded_share,
    )


def content_values(content: ContentRecord) -> dict[str, Any]:
    """The columns of ``contents`` for a record."""
    return {
        "bucket": content.bucket,
        "sha256": content.sha256,
        "vector_id": content.vector_id,
        "state": str(content.state),
        "md5": content.md5,
        "reason": None if content.reason is None else str(content.reason),
        "limits": content.limits,
        "attempts": content.attempts,
        "model": content.model,
        "version": content.version,
        "dirty_since": content.dirty_since,
        "resend_due": content.resend_due,
        "width": content.width,
        "height": content.height,
        "format": content.format,
        "nearest": [_neighbour_values(near) for near in content.nearest],
        "created_at": content.created_at,
        "indexed_at": content.indexed_at,
        "retired": list(content.retired),
        "retry_due": content.retry_due,
        "other_model": content.other_model,
        "decoded_share": content.decoded_share,
    }


def _neighbour(entry: Mapping[str, Any]) -> Neighbour:
    return Neighbour(entry["sha256"], entry["score"], entry.get("copy_threshold"), entry.get("verified"))


def _neighbour_values(near: Neighbour) -> dict[str, Any]:
    known = {"copy_threshold": near.copy_threshold, "verified": near.verified}
    return {
        "sha256": near.sha256,
        "score": near.score,
        **{name: value for name, value in known.items() if value is not None},
    }


def switch_record(row: Iterable[Any]) -> ModelSwitch:
    """A row of ``model_switch``, all columns, as a record."""
    _, version, state, old, new, changed_at = row
    return ModelSwitch(
        version,
        SwitchState(state),
        ServedModel(**old) if old else None,
        ServedModel(**new) if new else None,
        changed_at,
    )


def switch_values(switch: ModelSwitch) -> dict[str, Any]:
    """The columns of ``model_switch`` for a record."""
    return {
        "id": THE_SWITCH,
        "version": switch.version,
        "state": str(switch.state),
        "old": asdict(switch.old) if switch.old else None,
        "new": asdict(switch.new) if switch.new else None,
        "changed_at": switch.changed_at,
    }
