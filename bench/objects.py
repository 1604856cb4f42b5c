"""What plain clients do to the bucket: put, put again and again, delete."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Self

from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException
from urllib3.exceptions import HTTPError

THREADS = 8


def put(s3: Minio, bucket: str, keys: Sequence[str], data: Callable[[int], bytes]) -> float:
    """Store an object under each key, whose position gives its bytes; returns the seconds that it took."""

    def one(number: int) -> None:
        body = data(number)
        s3.put_object(bucket, keys[number], BytesIO(body), len(body))

    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(len(keys))))
    return time.perf_counter() - began


def delete(s3: Minio, bucket: str, keys: Sequence[str]) -> float:
    """Delete the objects, a thousand in a call; returns the seconds. Raises RuntimeError if one can't be."""
    began = time.perf_counter()
    for error in s3.remove_objects(bucket, [DeleteObject(key) for key in keys]):
        raise RuntimeError(f"{error.name} can't be deleted: {error.message}")
    return time.perf_counter() - began


class Stream:
    """Puts an object at each tick of a clock, in a thread, until the block ends. A PUT that fails is tried again."""

    def __init__(self, s3: Minio, bucket: str, prefix: str, data: Callable[[int], bytes], *, per_second: float) -> None:
        self._s3, self._bucket, self._prefix, self._data = s3, bucket, prefix, data
        self._pause = 1 / per_second
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="put-stream")
        self.put = 0
        """How many PUTs were acknowledged."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            if self._put_next():
                self.put += 1
                due += self._pause
            else:
                due = time.monotonic() + self._pause

    def _put_next(self) -> bool:
        body = self._data(self.put)
        try:
            self._s3.put_object(self._bucket, f"{self._prefix}{self.put:06}", BytesIO(body), len(body))
        except (MinioException, HTTPError, OSError):
            return False
        return True
