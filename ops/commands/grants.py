"""`twinlens grants`: users for the query service, which may only read, and for the workers, which may write."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ops.commands.common import AsJson, DataOption, command, print_answer
from ops.hints import DATA
from ops.privileges import Access, mysql_statements

app = typer.Typer(help="Users for the query service, which only read, and for the workers.", no_args_is_help=True)
Password = Annotated[str, typer.Option(envvar="TWINLENS_GRANTS_PASSWORD", help="The user's new password.")]
User = Annotated[str, typer.Option(help="The user's name, by default twinlens_reader or twinlens_writer.")]
May = Annotated[Access, typer.Option("--may", help="read: as the query service; write: as the workers.")]


@app.command()
def mysql(
    may: May = Access.READ,
    database: str = "twinlens",
    user: User = "",
    host: str = "%",
    apply: Annotated[
        bool, typer.Option("--apply", help="Run it instead, on the configured database as its user, an administrator.")
    ] = False,
    as_json: AsJson = False,
    data: DataOption = DATA,
    *,
    password: Password,
) -> None:
    """Print the SQL that an administrator runs, for a user who only reads, or who writes."""
    with command(data):
        facts = {"user": user or may.user, "may": str(may)}
        if not apply:
            statements = [f"{one};" for one in mysql_statements(database, may, user=user, host=host, password=password)]
            print_answer({**facts, "statements": statements}, "\n".join(statements), as_json=as_json)
            return
        from ops.grants import create_mysql_user
        from ops.installation import Server, installation

        settings = installation(data, Server.CATALOG).database
        asyncio.run(create_mysql_user(settings, may, user=user, password=password))
        print_answer({**facts, "statements": None}, f"{facts['user']} may {may}", as_json=as_json)


@app.command()
def minio(
    may: May = Access.READ, user: User = "", as_json: AsJson = False, data: DataOption = DATA, *, password: Password
) -> None:
    """Create the user and the policy for the configured buckets, with the configured administrator's key."""
    with command(data):
        from ops.grants import create_minio_user
        from ops.installation import Server, installation

        settings = installation(data, Server.OBJECTS).objects
        create_minio_user(settings, may, user=user, password=password)
        facts = {"user": user or may.user, "may": str(may), "buckets": list(settings.buckets)}
        print_answer(facts, f"{facts['user']} may {may} {', '.join(settings.buckets)}", as_json=as_json)


@app.command()
def milvus(
    may: May = Access.READ, user: User = "", as_json: AsJson = False, data: DataOption = DATA, *, password: Password
) -> None:
    """Create the user and the role, with the configured administrator's token."""
    with command(data):
        from ops.grants import create_milvus_user
        from ops.installation import Server, installation

        create_milvus_user(installation(data, Server.VECTORS).vectors, may, user=user, password=password)
        facts = {"user": user or may.user, "may": str(may)}
        words = f"{facts['user']} may {may}; its vectors.token is {facts['user']}:<password>"
        print_answer(facts, words, as_json=as_json)
