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
from stores.objects.s3_errors import translated

ANNOUNCED: Final = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
_KINDS: Final = ("s3:ObjectCreated:", "s3:ObjectRemoved:")
_TAKEN: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


def ensure_announced_bucket(client: Minio, bucket: str, arns: Sequence[str]) -> None:
    """Create the bucket unless it is there; send its changes to each of ``arns``. Safe to repeat.

    Raises ConfigurationError if the server refuses a target.
    """
    with translated(f"make bucket {bucket}"):
        if not client.bucket_exists(bucket):
            try:
                client.make_bucket(bucket)
            except S3Error as error:
                if error.code not in _TAKEN:
                    raise
        for arn in arns:
            _announce(client, bucket, arn)


def _announce(client: Minio, bucket: str, arn: str) -> None:
    present = client.get_bucket_notification(bucket)
    rules = with_rule(present.queue_config_list or [], arn)
    if rules is None:
        return
    try:
        client.set_bucket_notification(
            bucket,
            NotificationConfig(present.cloud_func_config_list, rules, present.topic_config_list),
        )
    except S3Error as error:
        if error.response.status != HTTPStatus.BAD_REQUEST:
            raise
        raise ConfigurationError(
            f"the object store refuses to send the changes of {bucket} to {arn}: {error.message} "
            "(each of objects.notification_arns must be a notification target of the server)"
        ) from error


def with_rule(rules: Sequence[QueueConfig], arn: str) -> list[QueueConfig] | None:
    """The rules with ours among them, or None if it is there already.

    Rules for other targets, and for other kinds of events, stay. Narrower ones of our target for the same kinds go:
    a server refuses overlapping rules.
    """
    ours = [rule for rule in rules if rule.queue == arn]
    if any(_covers(rule) for rule in ours):
        return None
    kept = [rule for rule in rules if rule.queue != arn]
    for rule in ours:
        others = [event for event in rule.events if not event.startswith(_KINDS)]
        if others:
            kept.append(replace(rule, events=others))
    target = arn.rpartition(":")[0].rpartition(":")[2]
    return [*kept, QueueConfig(queue=arn, events=list(ANNOUNCED), config_id=f"twinlens-{target}")]


def _covers(rule: QueueConfig) -> bool:
    unfiltered = rule.prefix_filter_rule is None and rule.suffix_filter_rule is None
    return unfiltered and set(ANNOUNCED) <= set(rule.events)
