"""Which users there should be, and what each may do: those of the query service only read, those of the workers write.

The tests try to do more with the credentials that result from these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from schemas.errors import ConfigurationError


class Access(StrEnum):
    """What a user may do."""

    READ = "read"
    """As the query service does."""
    WRITE = "write"
    """As the workers do: what is in buckets and collection, not these themselves."""

    @property
    def user(self) -> str:
        """The name of such a user."""
        return f"twinlens_{'reader' if self is Access.READ else 'writer'}"


class StoreServer(StrEnum):
    """The servers that have users of ours."""

    MYSQL = "mysql"
    MINIO = "minio"
    MILVUS = "milvus"


MILVUS_READS: Final = (
    ("Collection", "Search"),
    ("Collection", "Query"),
    ("Collection", "IndexDetail"),
    ("Collection", "GetLoadState"),
    ("Collection", "GetLoadingProgress"),
    ("Collection", "Load"),
    ("Global", "DescribeCollection"),
    ("Global", "DescribeAlias"),
)
"""Object type and privilege, as Milvus 2.3 has them. ``Load`` changes no data: after a restart of Milvus, whoever comes
first has the collection loaded again."""
MILVUS_WRITES: Final = (
    ("Collection", "Insert"),
    ("Collection", "Upsert"),
    ("Collection", "Delete"),
    ("Collection", "Flush"),
    ("Collection", "GetFlushState"),
    ("Collection", "GetStatistics"),
)

MYSQL_PRIVILEGES: Final = {Access.READ: "SELECT", Access.WRITE: "SELECT, INSERT, UPDATE, DELETE"}
"""Nobody but an administrator changes the tables themselves."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9_$-]{1,64}")


def mysql_statements(
    database: str, access: Access = Access.READ, *, user: str = "", host: str = "%", password: str
) -> list[str]:
    """SQL for an administrator: a user who reads or writes the catalog; again, a new password.

    Raises ConfigurationError for names and passwords that SQL would have to escape.
    """
    user = user or access.user
    for name in (database, user):
        if not _IDENTIFIER.fullmatch(name):
            raise ConfigurationError(f"{name!r} is no plain name for a database or user")
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,255}", host):
        raise ConfigurationError(f"{host!r} is no host")
    if "'" in password or "\\" in password:
        raise ConfigurationError("choose a password without quotes and backslashes")
    account = f"'{user}'@'{host}'"
    # In a GRANT, `_` stands for any character.
    pattern = database.replace("_", r"\_")
    return [
        f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{password}'",
        f"ALTER USER {account} IDENTIFIED BY '{password}'",
        f"GRANT {MYSQL_PRIVILEGES[access]} ON `{pattern}`.* TO {account}",
    ]


def minio_policy(buckets: Iterable[str], access: Access) -> dict[str, Any]:
    """An S3 policy: read the objects of these buckets, and see that the buckets are there.

    Who writes may put and delete objects, too, and put back the rules by which they are announced.
    """
    names = sorted(buckets)
    of_buckets, of_objects = ["s3:GetBucketLocation", "s3:ListBucket"], ["s3:GetObject"]
    if access is Access.WRITE:
        of_buckets += ["s3:GetBucketNotification", "s3:PutBucketNotification"]
        of_objects += ["s3:PutObject", "s3:DeleteObject"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": of_buckets,
                "Resource": [f"arn:aws:s3:::{name}" for name in names],
            },
            {
                "Effect": "Allow",
                "Action": of_objects,
                "Resource": [f"arn:aws:s3:::{name}/*" for name in names],
            },
        ],
    }
