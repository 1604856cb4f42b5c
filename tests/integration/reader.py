"""A user of MinIO with fewer rights than its owner."""

from __future__ import annotations

import secrets

from minio import MinioAdmin
from minio.credentials.providers import StaticProvider

from tests.harness.live import Live


class Reader:
    """A user of MinIO who may do everything in a bucket but read what begins with ``forbidden/``, until allowed."""

    def __init__(self, live: Live) -> None:
        environment = live.environment
        root = StaticProvider(environment["TWINLENS_OBJECTS__ACCESS_KEY"], environment["TWINLENS_OBJECTS__SECRET_KEY"])
        self._admin = MinioAdmin(endpoint=environment["TWINLENS_OBJECTS__ENDPOINT"], credentials=root, secure=False)
        self._bucket = live.bucket
        self.name, self._password = f"u{secrets.token_hex(4)}", secrets.token_urlsafe(16)
        self._allow(forbidden=True)
        self._admin.user_add(self.name, self._password)
        self._admin.policy_set(self.name, user=self.name)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that works as this user."""
        return {"TWINLENS_OBJECTS__ACCESS_KEY": self.name, "TWINLENS_OBJECTS__SECRET_KEY": self._password}

    def allow(self) -> None:
        """Let the user read everything."""
        self._allow(forbidden=False)

    def _allow(self, *, forbidden: bool) -> None:
        here = f"arn:aws:s3:::{self._bucket}"
        statements = [{"Effect": "Allow", "Action": ["s3:*"], "Resource": [here, f"{here}/*"]}]
        if forbidden:
            statements.append({"Effect": "Deny", "Action": ["s3:GetObject"], "Resource": [f"{here}/forbidden/*"]})
        self._admin.policy_add(self.name, policy={"Version": "2012-10-17", "Statement": statements})
