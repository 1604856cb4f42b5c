"""The Alembic migrations that make and change the tables of ``schemas.tables``."""

from typing import Final

NEWEST: Final = "0011"
"""The last of the revisions in ``versions``, said here as well so that a worker starts without Alembic."""
