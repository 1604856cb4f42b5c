"""Making a bucket on an S3 server and having its changes announced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from minio import Minio
from minio.error import S3Error
from minio.notificationconfig import NotificationConfig, QueueConfig

from schemas.errors import ConfigurationError
from schemas.messages import CREATED_EVENTS, REMOVED_EVENTS
from stores.objects.s3_errors import translated_s3_errors

_KINDS: Final = (CREATED_EVENTS, REMOVED_EVENTS)
ANNOUNCED: Final = tuple(f"{kind}*" for kind in _KINDS)
_TAKEN: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


def ensure_bucket(client: Minio, bucket: str) -> None:
    """Create the bucket unless it is there. Safe to repeat."""
    with translated_s3_errors(f"make bucket {bucket}"):
        if not client.bucket_exists(bucket):
            try:
                client.make_bucket(bucket)
            except S3Error as error:
                if error.code not in _TAKEN:
                    raise


def ensure_notifications(client: Minio, bucket: str, arns: Sequence[str]) -> bool:
    """Have the bucket's changes sent to each of ``arns``; whether a rule was missing. Safe to repeat.

    Raises ConfigurationError if the server refuses a target.
    """
    if not arns:
        return False
    with translated_s3_errors(f"announce the changes of bucket {bucket}"):
        present = client.get_bucket_notification(bucket)
        rules = list(present.queue_config_list or [])
        missing = [arn for arn in arns if not _is_announced(rules, arn)]
        for arn in missing:
            rules = _with_rule(rules, arn)
        if missing:
            wanted = NotificationConfig(present.cloud_func_config_list, rules, present.topic_config_list)
            _set_rules(client, bucket, wanted, missing)
        return bool(missing)


def _set_rules(client: Minio, bucket: str, wanted: NotificationConfig, arns: Sequence[str]) -> None:
    try:
        client.set_bucket_notification(bucket, wanted)
    except S3Error as error:
        if error.response.status != HTTPStatus.BAD_REQUEST:
            raise
        raise ConfigurationError(
            f"the object store refuses to send the changes of {bucket} to {', '.join(arns)}: {error.message} "
            "(each of objects.notification_arns must be a notification target of the server)"
        ) from error


def _with_rule(rules: Sequence[QueueConfig], arn: str) -> list[QueueConfig]:
    """The rules with ours for the target among them.

    Rules for other targets, and for other kinds of events, stay. Narrower ones of our target for the same kinds go:
    a server refuses overlapping rules.
    """
    kept = [rule for rule in rules if rule.queue != arn]
    for rule in rules:
        others = [event for event in rule.events if not event.startswith(_KINDS)]
        if rule.queue == arn and others:
            kept.append(replace(rule, events=others))
    target = arn.rpartition(":")[0].rpartition(":")[2]
    return [*kept, QueueConfig(queue=arn, events=list(ANNOUNCED), config_id=f"twinlens-{target}")]


def _is_announced(rules: Sequence[QueueConfig], arn: str) -> bool:
    return any(rule.queue == arn and _is_whole(rule) for rule in rules)


def _is_whole(rule: QueueConfig) -> bool:
    unfiltered = rule.prefix_filter_rule is None and rule.suffix_filter_rule is None
    return unfiltered and set(ANNOUNCED) <= set(rule.events)
