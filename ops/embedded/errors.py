"""What can go wrong with the embedded stack."""

from schemas.errors import TwinlensError


class StackError(TwinlensError):
    """The embedded stack can't start or go on; the text says why and, where there is one, ends with a server's log."""
