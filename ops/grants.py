"""Users of the servers: for the query service, which may only read, and for the workers, which may write."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import grpc
from minio.credentials.providers import StaticProvider
from minio.error import MinioException
from minio.minioadmin import MinioAdmin
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from urllib3.exceptions import HTTPError

from ops.privileges import MILVUS_READS, MILVUS_WRITES, Access, StoreServer, minio_policy, mysql_statements
from schemas.collection import VIEWS, collection_name, view_collections
from schemas.errors import ConfigurationError, ObjectStoreOutage, VectorIndexOutage
from schemas.settings import DatabaseSettings, ObjectSettings, Settings, VectorSettings
from stores.catalog.engine import create_engine, outages


async def make_users(settings: Settings, stores: Iterable[StoreServer], passwords: Path) -> dict[str, list[str]]:
    """Create the users of workers and query service on each of the stores; their names, by store.

    ``passwords``: a folder with the files ``mysql_writer_password``, ``mysql_reader_password``, and so on. Raises
    Outage, ConfigurationError, OSError.
    """
    made: dict[str, list[str]] = {}
    for store in stores:
        for access in (Access.WRITE, Access.READ):
            file = passwords / f"{store}_{access.user.removeprefix('twinlens_')}_password"
            await _make_user(settings, store, access, file.read_text(encoding="utf-8").rstrip("\n"))
            made.setdefault(store.value, []).append(access.user)
    return made


async def _make_user(settings: Settings, store: StoreServer, access: Access, password: str) -> None:
    match store:
        case StoreServer.MYSQL:
            await create_mysql_user(settings.database, access, password=password)
        case StoreServer.MINIO:
            create_minio_user(settings.objects, access, password=password)
        case StoreServer.MILVUS:
            create_milvus_user(settings.vectors, access, password=password)


async def create_mysql_user(settings: DatabaseSettings, access: Access, *, user: str = "", password: str) -> None:
    """Create the user of the settings' database; again, set password and rights anew.

    The settings' URL is an administrator's. Raises CatalogOutage, ConfigurationError.
    """
    database = make_url(settings.url.get_secret_value()).database or ""
    statements = mysql_statements(database, access, user=user, password=password)
    engine = create_engine(settings)
    try:
        with outages():
            async with engine.connect() as connection:
                for statement in statements:
                    # As it is: SQLAlchemy would take a colon in it for a parameter.
                    await connection.exec_driver_sql(statement.replace("%", "%%"))
    except DBAPIError as error:
        raise ConfigurationError(f"create the user {user or access.user}: {error.orig}") from error
    finally:
        await engine.dispose()


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
        collection = client.describe_alias(settings.alias)["collection_name"]
        views = [name for layout in VIEWS for name in view_collections(collection, layout)]
        collections = (settings.alias, collection, *filter(client.has_collection, views))
        _grant(client, user, privileges, collections, kept=collection_name(settings.alias, ""))
        _set_password(client, settings, user, password)
        client.grant_role(user, user)
        client.close()
    except MilvusException as error:
        raise VectorIndexOutage(f"create the user {user}: {error.message}") from error


def share_milvus_privileges(settings: VectorSettings, collection: str, other: str) -> None:
    """Let every role do with another collection what it may do with this one, as workers and query services must.

    Nothing happens where Milvus has no such roles, or none at all (Milvus Lite). Raises VectorIndexOutage.
    """
    try:
        client = MilvusClient(uri=settings.uri, token=settings.token.get_secret_value(), timeout=settings.timeout_s)
    except MilvusException as error:
        raise VectorIndexOutage(f"connect: {error.message}") from error
    try:
        for role in _roles(client):
            for grant in client.describe_role(role)["privileges"]:
                if grant["object_type"] == "Collection" and grant["object_name"] == collection:
                    client.grant_privilege(role, "Collection", grant["privilege"], other)
    except MilvusException as error:
        raise VectorIndexOutage(f"let the workers' users use the collection {other}: {error.message}") from error
    finally:
        client.close()


def _roles(client: MilvusClient) -> list[str]:
    try:
        return list(client.list_roles())
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return []
        raise


def _grant(
    client: MilvusClient,
    role: str,
    privileges: Collection[tuple[str, str]],
    collections: Iterable[str],
    *,
    kept: str,
) -> None:
    """Grant these privileges and take back all others, but those on collections whose name begins with ``kept``.

    While models are switched, the role has them on the other collection, too: see ``share_milvus_privileges``.
    """
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
    shared = {grant for grant in present if grant[2].startswith(kept) and grant[:2] in privileges}
    for kind, privilege, name in sorted(present - wanted - shared):
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
