"""The Alembic migrations that make and change the tables of ``schemas.tables``."""
