"""`twinlens grants`: what the query service may do on each server, which is to read.

The tests try to write with the credentials that result from these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final

import typer
from minio.credentials.providers import StaticProvider
from minio.error import MinioException
from minio.minioadmin import MinioAdmin
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException
from urllib3.exceptions import HTTPError

from schemas.errors import ObjectStoreOutage, VectorIndexOutage
from schemas.settings import ObjectSettings, VectorSettings, load_settings

READER: Final = "twinlens_reader"

MILVUS_PRIVILEGES: Final = (
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

_IDENTIFIER = re.compile(r"[A-Za-z0-9_$-]{1,64}")


def mysql_statements(database: str, *, user: str = READER, host: str = "%", password: str) -> list[str]:
    """SQL for an administrator: a user who can only read the catalog; again, a new password. Raises ValueError."""
    for name in (database, user):
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"{name!r} is no plain name for a database or user")
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,255}", host):
        raise ValueError(f"{host!r} is no host")
    if "'" in password or "\\" in password:
        raise ValueError("choose a password without quotes and backslashes")
    account = f"'{user}'@'{host}'"
    # In a GRANT, `_` stands for any character.
    pattern = database.replace("_", r"\_")
    return [
        f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{password}'",
        f"ALTER USER {account} IDENTIFIED BY '{password}'",
        f"GRANT SELECT ON `{pattern}`.* TO {account}",
    ]


def minio_policy(buckets: Iterable[str]) -> dict[str, Any]:
    """An S3 policy: read the objects of these buckets, and see that the buckets are there."""
    names = sorted(buckets)
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{name}" for name in names],
            },
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject"],
                "Resource": [f"arn:aws:s3:::{name}/*" for name in names],
            },
        ],
    }


def create_minio_reader(settings: ObjectSettings, *, user: str = READER, password: str) -> None:
    """Create the policy for the settings' buckets, and the user who is under it; again, set both anew.

    The settings' key is an administrator's. Raises ObjectStoreOutage.
    """
    credentials = StaticProvider(settings.access_key, settings.secret_key.get_secret_value())
    admin = MinioAdmin(
        endpoint=settings.endpoint, credentials=credentials, secure=settings.secure, region=settings.region
    )
    try:
        admin.policy_add(user, policy=minio_policy(settings.buckets))
        admin.user_add(user, password)
        admin.policy_set(user, user=user)
    except (MinioException, HTTPError) as error:
        raise ObjectStoreOutage(f"create the user {user}: {error}") from error


def create_milvus_reader(settings: VectorSettings, *, user: str = READER, password: str) -> None:
    """Create the role with its privileges, and the user who has it; again, set the password anew.

    The settings' token is an administrator's. Milvus enforces roles only with
    ``common.security.authorizationEnabled``. Raises VectorIndexOutage.
    """
    token = settings.token.get_secret_value()
    try:
        client = MilvusClient(uri=settings.uri, token=token, timeout=settings.timeout_s)
        _grant_search(client, settings, user=user, role=user, password=password)
        client.close()
    except MilvusException as error:
        raise VectorIndexOutage(f"create the user {user}: {error.message}") from error


def _grant_search(client: MilvusClient, settings: VectorSettings, *, user: str, role: str, password: str) -> None:
    if role not in client.list_roles():
        client.create_role(role)
    for kind, privilege in MILVUS_PRIVILEGES:
        client.grant_privilege(role, kind, privilege, "*")
    if user in client.list_users() and not _can_log_in(settings, user, password):
        # Only who knows the old password could change it; an administrator makes the user anew.
        client.drop_user(user)
    if user not in client.list_users():
        client.create_user(user, password)
    client.grant_role(user, role)


def _can_log_in(settings: VectorSettings, user: str, password: str) -> bool:
    try:
        client = MilvusClient(uri=settings.uri, token=f"{user}:{password}", timeout=settings.timeout_s)
        client.close()
    except MilvusException:
        return False
    return True


app = typer.Typer(help="Credentials for the query service that can only read.", no_args_is_help=True)
Password = Annotated[str, typer.Option(envvar="TWINLENS_READER_PASSWORD", help="The reader's new password.")]
User = Annotated[str, typer.Option(help="The reader's name.")]


@app.command()
def mysql(database: str = "twinlens", user: User = READER, host: str = "%", *, password: Password) -> None:
    """Print the SQL that an administrator runs."""
    for statement in mysql_statements(database, user=user, host=host, password=password):
        typer.echo(f"{statement};")


@app.command()
def minio(user: User = READER, *, password: Password) -> None:
    """Create the user and the policy for the configured buckets, with the configured administrator's key."""
    from ops.cli import friendly_errors

    with friendly_errors():
        settings = load_settings().objects
        create_minio_reader(settings, user=user, password=password)
        typer.echo(f"{user} may read {', '.join(settings.buckets)}")


@app.command()
def milvus(user: User = READER, *, password: Password) -> None:
    """Create the user and the role, with the configured administrator's token."""
    from ops.cli import friendly_errors

    with friendly_errors():
        create_milvus_reader(load_settings().vectors, user=user, password=password)
        typer.echo(f"{user} may search; the query service's vectors.token is {user}:<password>")
