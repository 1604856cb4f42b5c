"""`twinlens grants`: users for the query service, which may only read, and for the workers, which may write.

The tests try to do more with the credentials that result from these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
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

_IDENTIFIER = re.compile(r"[A-Za-z0-9_$-]{1,64}")


def mysql_statements(database: str, *, user: str = Access.READ.user, host: str = "%", password: str) -> list[str]:
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


def create_minio_user(settings: ObjectSettings, access: Access, *, user: str = "", password: str) -> None:
    """Create the policy for the settings' buckets, and the user who is under it; again, set both anew.

    The settings' key is an administrator's. Raises ObjectStoreOutage.
    """
    user = user or access.user
    credentials = StaticProvider(settings.access_key, settings.secret_key.get_secret_value())
    admin = MinioAdmin(
        endpoint=settings.endpoint, credentials=credentials, secure=settings.secure, region=settings.region
    )
    try:
        admin.policy_add(user, policy=minio_policy(settings.buckets, access))
        admin.user_add(user, password)
        admin.policy_set(user, user=user)
    except (MinioException, HTTPError) as error:
        raise ObjectStoreOutage(f"create the user {user}: {error}") from error


def create_milvus_user(settings: VectorSettings, access: Access, *, user: str = "", password: str) -> None:
    """Create the role with its privileges on our collection, and the user who has it; again, set both anew.

    The settings' token is an administrator's. Milvus enforces roles only with
    ``common.security.authorizationEnabled``. Raises VectorIndexOutage, also where `twinlens setup` has not run yet.
    """
    user = user or access.user
    privileges = MILVUS_READS if access is Access.READ else (*MILVUS_READS, *MILVUS_WRITES)
    token = settings.token.get_secret_value()
    try:
        client = MilvusClient(uri=settings.uri, token=token, timeout=settings.timeout_s)
        # Milvus looks at the name that a request has, which is the alias; later versions at the collection's.
        collections = (settings.alias, client.describe_alias(settings.alias)["collection_name"])
        _grant(client, user, privileges, collections)
        _set_password(client, settings, user, password)
        client.grant_role(user, user)
        client.close()
    except MilvusException as error:
        raise VectorIndexOutage(f"create the user {user}: {error.message}") from error


def _grant(client: MilvusClient, role: str, privileges: Iterable[tuple[str, str]], collections: Iterable[str]) -> None:
    if role not in client.list_roles():
        client.create_role(role)
    wanted = {
        (kind, privilege, name)
        for kind, privilege in privileges
        for name in (collections if kind == "Collection" else ("*",))
    }
    for kind, privilege, name in sorted(wanted):
        client.grant_privilege(role, kind, privilege, name)
    present = {
        (grant["object_type"], grant["privilege"], grant["object_name"])
        for grant in client.describe_role(role)["privileges"]
    }
    for kind, privilege, name in sorted(present - wanted):
        client.revoke_privilege(role, kind, privilege, name)


def _set_password(client: MilvusClient, settings: VectorSettings, user: str, password: str) -> None:
    known = user in client.list_users()
    if known and _can_log_in(settings, user, password):
        return
    if known:
        # Only who knows the old password could change it; an administrator makes the user anew.
        client.drop_user(user)
    client.create_user(user, password)


def _can_log_in(settings: VectorSettings, user: str, password: str) -> bool:
    try:
        client = MilvusClient(uri=settings.uri, token=f"{user}:{password}", timeout=settings.timeout_s)
        client.close()
    except MilvusException:
        return False
    return True


app = typer.Typer(help="Users for the query service, which only read, and for the workers.", no_args_is_help=True)
Password = Annotated[str, typer.Option(envvar="TWINLENS_GRANTS_PASSWORD", help="The user's new password.")]
User = Annotated[str, typer.Option(help="The user's name, by default twinlens_reader or twinlens_writer.")]
May = Annotated[Access, typer.Option("--may", help="read: as the query service; write: as the workers.")]


@app.command()
def mysql(database: str = "twinlens", user: str = Access.READ.user, host: str = "%", *, password: Password) -> None:
    """Print the SQL that an administrator runs, for a user who only reads."""
    for statement in mysql_statements(database, user=user, host=host, password=password):
        typer.echo(f"{statement};")


@app.command()
def minio(may: May = Access.READ, user: User = "", *, password: Password) -> None:
    """Create the user and the policy for the configured buckets, with the configured administrator's key."""
    from ops.cli import friendly_errors

    with friendly_errors():
        settings = load_settings().objects
        create_minio_user(settings, may, user=user, password=password)
        typer.echo(f"{user or may.user} may {may} {', '.join(settings.buckets)}")


@app.command()
def milvus(may: May = Access.READ, user: User = "", *, password: Password) -> None:
    """Create the user and the role, with the configured administrator's token."""
    from ops.cli import friendly_errors

    with friendly_errors():
        create_milvus_user(load_settings().vectors, may, user=user, password=password)
        typer.echo(f"{user or may.user} may {may}; its vectors.token is {user or may.user}:<password>")
