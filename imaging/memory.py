"""How much memory the threads of a process may take together."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """Reservations in bytes, granted in the order they are asked for. Safe among threads; nothing is
    allocated by it.
    """

    def __init__(self) -> None:
        self._reserved = 0
        self._freed = threading.Condition()
        self._turnstile = threading.Lock()

    @contextmanager
    def reserve(self, size: int, capacity: int) -> Iterator[None]:
        """Wait until `size` more bytes fit into `capacity`, and hold them for the block.

        A size above the capacity waits for all others to end, so nobody waits for ever. It must not be
        nested.
        """
        # A large reservation waits in the turnstile, where small ones that come later can't overtake it for
        # ever.
        with self._turnstile, self._freed:
            self._freed.wait_for(lambda: self._reserved == 0 or self._reserved + size <= capacity)
            self._reserved += size
        try:
            yield
        finally:
            with self._freed:
                self._reserved -= size
                self._freed.notify_all()
