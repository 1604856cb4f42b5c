"""What was computed is kept in the output folder, so that a run goes on where the last one ended."""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.progress import track

BLOCK = 50
"""Results are written in blocks of so many, each computed by as many threads as there are cores."""


class Cache:
    """Blocks of results, under names that tell of the modules that made them: changed code computes anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def all[In, Out](
        self, name: str, items: Sequence[In], compute: Callable[[In], Out], made_by: Sequence[ModuleType | object]
    ) -> list[Out]:
        """`compute` of each item, from the cache where it is there. Items tell by their repr what they are."""
        results: list[Out] = []
        blocks = [items[start : start + BLOCK] for start in range(0, len(items), BLOCK)]
        # Threads are enough: decoding, features and networks compute outside of the interpreter.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for block in track(blocks, description=name, console=Console(stderr=True)):
                path = self._folder / f"{name}-{_key(block, made_by)}.pickle"
                if path.is_file():
                    results += _load(path)
                    continue
                made = list(pool.map(compute, block))
                partial = path.with_suffix(".partial")
                partial.write_bytes(pickle.dumps(made))
                partial.rename(path)
                results += made
        return results


def _load(path: Path) -> list[Any]:
    loaded = pickle.loads(path.read_bytes())  # noqa: S301 -- written by this program
    assert isinstance(loaded, list)
    return loaded


def _key(block: Sequence[object], made_by: Sequence[ModuleType | object]) -> str:
    digest = hashlib.sha256(repr(block).encode())
    for maker in made_by:
        digest.update((inspect.getsource(maker) if isinstance(maker, ModuleType) else repr(maker)).encode())
    return digest.hexdigest()[:16]
