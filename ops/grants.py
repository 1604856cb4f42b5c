"""What the query service may do on each server: read. The statements, the policy and the role that say so.

``python -m ops.grants mysql|minio|milvus`` prints or applies them; see docs/api.md. The tests try to write with the
credentials that result from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final

import typer
from pymilvus import MilvusClient

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
    """SQL for an administrator: a user who can select from the catalog, and nothing else. Raises ValueError."""
    for name in (database, user):
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"{name!r} is no plain name for a database or user")
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,255}", host):
        raise ValueError(f"{host!r} is no host")
    if "'" in password or "\\" in password:
        raise ValueError("choose a password without quotes and backslashes")
    account = f"'{user}'@'{host}'"
    return [
        f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{password}'",
        f"GRANT SELECT ON `{database}`.* TO {account}",
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


def create_milvus_reader(client: MilvusClient, *, user: str = READER, role: str = READER, password: str) -> None:
    """Create the role with its privileges, and the user who has it. ``client`` is an administrator's. Safe to repeat.

    Milvus enforces roles only with ``common.security.authorizationEnabled``.
    """
    if role not in client.list_roles():
        client.create_role(role)
    for kind, privilege in MILVUS_PRIVILEGES:
        client.grant_privilege(role, kind, privilege, "*")
    if user not in client.list_users():
        client.create_user(user, password)
    client.grant_role(user, role)


app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
Password = Annotated[str, typer.Option(envvar="TWINLENS_READER_PASSWORD", help="The reader's new password.")]


@app.command()
def mysql(database: str = "twinlens", user: str = READER, host: str = "%", *, password: Password) -> None:
    """Print the SQL that an administrator runs."""
    for statement in mysql_statements(database, user=user, host=host, password=password):
        typer.echo(f"{statement};")


@app.command()
def minio(buckets: list[str]) -> None:
    """Print the policy, for ``mc admin policy create``."""
    typer.echo(json.dumps(minio_policy(buckets), indent=2))


@app.command()
def milvus(
    uri: Annotated[str, typer.Option(help="The server, as http://host:19530.")],
    token: Annotated[str, typer.Option(envvar="TWINLENS_VECTORS__TOKEN", help="An administrator's user:password.")],
    user: str = READER,
    *,
    password: Password,
) -> None:
    """Create the role and the user."""
    client = MilvusClient(uri=uri, token=token)
    create_milvus_reader(client, user=user, password=password)
    client.close()
    typer.echo(f"{user} may search and nothing else; the query service's vectors.token is {user}:<password>.")


if __name__ == "__main__":
    app()
