"""Users of an installation on servers in containers, as the compose file makes them: who writes, and who reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import make_url

from ops.privileges import Access


@dataclass(frozen=True)
class Account:
    """A user of all three servers that know users, under one name with one password."""

    access: Access
    name: str
    password: str

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The credentials that take the place of the administrator's in an installation's environment."""
        url = make_url(environment["TWINLENS_DATABASE__URL"]).set(username=self.name, password=self.password)
        return {
            "TWINLENS_DATABASE__URL": url.render_as_string(hide_password=False),
            "TWINLENS_OBJECTS__ACCESS_KEY": self.name,
            "TWINLENS_OBJECTS__SECRET_KEY": self.password,
            "TWINLENS_VECTORS__TOKEN": f"{self.name}:{self.password}",
        }

    async def make(self, environment: Mapping[str, str]) -> None:
        """Make the user, as the administrator whose credentials the environment has. Safe to repeat."""
        # Every pytest run loads this module, most need no server's client.
        from ops.grants import create_milvus_user, create_minio_user, create_mysql_user
        from schemas.settings import DatabaseSettings, ObjectSettings, VectorSettings

        def given(section: str, *names: str) -> dict[str, str]:
            return {name: environment[f"TWINLENS_{section}__{name.upper()}"] for name in names}

        of_objects = given("OBJECTS", "endpoint", "access_key", "secret_key")
        buckets = json.loads(environment["TWINLENS_OBJECTS__BUCKETS"])
        user = {"user": self.name, "password": self.password}
        await create_mysql_user(DatabaseSettings.model_validate(given("DATABASE", "url")), self.access, **user)
        create_minio_user(ObjectSettings.model_validate({**of_objects, "buckets": buckets}), self.access, **user)
        create_milvus_user(VectorSettings.model_validate(given("VECTORS", "uri", "alias")), self.access, **user)


def accounts_of(environment: Mapping[str, str]) -> dict[Access, Account]:
    """The users of an installation, the same whoever asks, so that further processes of it have them, too."""
    database = make_url(environment["TWINLENS_DATABASE__URL"]).database or ""
    secret = environment["TWINLENS_OBJECTS__SECRET_KEY"]

    def account(access: Access) -> Account:
        name = f"{database[:24]}_{access.value}"
        return Account(access, name, hashlib.sha256(f"{secret} {name}".encode()).hexdigest()[:32])

    return {access: account(access) for access in Access}
