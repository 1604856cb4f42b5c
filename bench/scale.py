"""The vector index among many vectors: building, memory, latency and recall, for each type of index.

    make bench SCALE=1000000
    make bench SCALE=20000 ARGS='--indexes HNSW,IVF_SQ8:ivf_nlist=2048 --json FILE'

Starts a Milvus of its own, fills it with made-up vectors (``bench/synthetic.py``) through the adapter that the workers
use, and gives them one index after the other. Recall is the share of the ten nearest, by brute force over all vectors,
that a search for ten finds. Milvus builds with threads of the lowest priority, so that beside other work a build never
ends; where that is allowed (root), they get the usual one. docs/scaling.md says what came out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bench import proc, report
from bench.exact import EVERYTHING, NEAREST, RARE, Kind, Nearest, bucket_of
from bench.figures import Figure, Result, quantile
from bench.synthetic import BLOCK, Matrix, SyntheticVectors
from imaging.model_spec import load_spec
from schemas.collection import MAX_VECTOR_ID
from schemas.errors import ConfigurationError
from schemas.settings import Settings, VectorSettings
from stores.vectors.milvus import MilvusVectors
from stores.vectors.ports import VectorEntry
from tests.harness.stack.install import install
from tests.harness.stack.stack import Stack

QUERIES: Final = 500
WARM_UP: Final = 50
CLIENTS: Final = {1: 1, 16: 2}
"""How many searches there are at the same time, and how often all queries are asked then."""
EFFORTS: Final[Mapping[str, Sequence[Mapping[str, int]]]] = {
    "HNSW": [{"search_ef": value} for value in (64, 128, 256, 512, 1024)],
    "SCANN": [{"ivf_nprobe": value, "search_ef": ef} for ef in (128, 512) for value in (64, 128, 256, 512)],
    "IVF_FLAT": [{"ivf_nprobe": value} for value in (16, 32, 64, 128, 256, 512)],
    "IVF_SQ8": [{"ivf_nprobe": value} for value in (16, 32, 64, 128, 256, 512)],
    "DISKANN": [{"search_ef": value} for value in (64, 128, 256, 512)],
}
"""Settings of searching that trade recall for time, and the values that are tried."""
AMONG: Final = 2000
SETTLED_LOOKS, SETTLED_WITHIN_S = 15, 3600
"""Milvus merges segments some time after they were made, also after a start, and makes their indexes anew."""
IDLE_S, IDLE_SHARE = 10.0, 0.2
"""Less than this share of a core for so long counts as idle: what a stop broke off it does again, and tells nobody."""


class Variant(NamedTuple):
    """An index to measure: the settings that it is built with, and how it is called in the report."""

    name: str
    settings: Mapping[str, str | int]

    @classmethod
    def read(cls, text: str) -> Variant:
        """The one that ``TYPE`` or ``TYPE:SETTING=VALUE:…`` means. Raises ValidationError for what settings refuse."""
        kind, *given = text.split(":")
        variant = cls(text, {"index": kind, **dict(setting.split("=", 1) for setting in given)})
        VectorSettings.model_validate(variant.settings)
        return variant

    def efforts(self) -> Iterator[Mapping[str, int]]:
        """The settings of searching that are tried with it: those that it can take."""
        for effort in EFFORTS.get(str(self.settings["index"]), ()):
            try:
                VectorSettings.model_validate({**self.settings, **effort})
            except ValidationError:
                continue
            yield effort


class Answer(NamedTuple):
    """What one search found, and how long it took."""

    ids: set[int]
    milliseconds: float


@dataclass(slots=True)
class Filled:
    """A Milvus that is filled: what to ask it, and what it should answer."""

    stack: Stack
    ids: NDArray[np.int64]
    queries: Matrix
    exact: dict[Kind, Nearest]

    def settings(self, given: Mapping[str, str | int]) -> VectorSettings:
        """Of the adapter: the defaults but for what is given."""
        return VectorSettings.model_validate({"uri": self.stack.addresses.milvus, "timeout_s": 600, **given})

    def recall(self, kind: Kind, answers: Sequence[Answer]) -> float:
        """The share of what should be found that the answers, one to each query, have."""
        right = [set(self.ids[positions].tolist()) for positions in self.exact[kind].positions]
        return float(np.mean([len(answer.ids & ids) / NEAREST for answer, ids in zip(answers, right, strict=True)]))


type Say = Callable[[str], None]


def measure(folder: Path, vectors: SyntheticVectors, indexes: Sequence[Variant], say: Say) -> Result:
    """Fill a Milvus in the folder, and measure each type of index on it."""
    stack = Stack(folder)
    stack.start("milvus")
    try:
        filled = asyncio.run(fill(stack, vectors, say))
        figures = []
        for index in indexes:
            for figure in of_index(filled, index, say):
                say(f"{index.name}: {figure.name}: {figure.value:.4g} {figure.unit}")
                figures.append(figure)
    finally:
        stack.stop()
    return Result("scale", figures)


async def fill(stack: Stack, vectors: SyntheticVectors, say: Say) -> Filled:
    """Store all vectors that a former run has not stored, and find the exact answers meanwhile."""
    random = np.random.default_rng(0)
    ids = random.integers(0, MAX_VECTOR_ID, vectors.count)
    among = tuple(random.choice(vectors.count, min(AMONG, vectors.count), replace=False).tolist())
    kinds = [EVERYTHING, Kind("bucket", bucket=RARE), Kind("among", among=among)]
    queries = vectors.queries(QUERIES)
    filled = Filled(stack, ids, queries, {kind: Nearest(queries, kind) for kind in kinds})
    index = MilvusVectors(filled.settings({"index": "FLAT"}))
    try:
        await _set_up(index, vectors.dimension)
        stored = await index.count()
        for number, block in enumerate(vectors.blocks()):
            first = number * BLOCK
            for exact in filled.exact.values():
                exact.see(first, block)
            if first + len(block) > stored:
                await index.upsert([_entry(ids, first + row, vector) for row, vector in enumerate(block)])
                say(f"stored {first + len(block):,}")
        await index.flush()
        await _settled(index)
    finally:
        await index.close()
    return filled


def of_index(filled: Filled, index: Variant, say: Say) -> Iterator[Figure]:
    """Build the index, unless a former run has, and measure searches.

    Memory is that of a Milvus started anew: one in use keeps what it had.
    """
    settings = filled.settings(index.settings)
    if not asyncio.run(_with(settings, lambda adapter: _set_up(adapter, filled.queries.shape[1]))):
        say(f"{index.name}: building")
        begun = time.monotonic()
        with _most_memory(filled.stack) as most:
            asyncio.run(_with(settings, MilvusVectors.rebuild_index))
        yield Figure("build and load", time.monotonic() - begun, "s", of=index.name)
        yield Figure("most memory while building", max(most) / 2**20, "MiB", of=index.name)
    filled.stack.stop("milvus")
    filled.stack.start("milvus")
    begun = time.monotonic()
    asyncio.run(_with(settings, MilvusVectors.check))
    yield Figure("load", time.monotonic() - begun, "s", of=index.name)
    asyncio.run(_with(settings, _settled))
    _wait_idle(filled.stack)
    yield Figure("memory", resident(filled.stack) / 2**20, "MiB", of=index.name)
    yield from searches(filled, index)
    yield Figure("memory after searches", resident(filled.stack) / 2**20, "MiB", of=index.name)


def searches(filled: Filled, index: Variant) -> Iterator[Figure]:
    """Latency and recall: with the defaults by kind of search and number of clients, then with other efforts."""
    settings = filled.settings(index.settings)
    for kind in filled.exact:
        asyncio.run(_ask(filled, settings, kind, filled.queries[:WARM_UP], clients=1))
        for clients, rounds in CLIENTS.items():
            queries, used = np.tile(filled.queries, (rounds, 1)), cpu_s(filled.stack)
            answers = asyncio.run(_ask(filled, settings, kind, queries, clients))
            spent = 1000 * (cpu_s(filled.stack) - used) / len(queries)
            yield from _latency(f"{kind.name}, {clients}", answers, index)
            yield Figure(f"{kind.name}, {clients}: Milvus' CPU", spent, "ms", of=index.name)
        yield Figure(f"{kind.name}: recall@{NEAREST}", filled.recall(kind, answers[:QUERIES]), "", of=index.name)
    for effort in index.efforts():
        settings = filled.settings({**index.settings, **effort})
        answers = asyncio.run(_ask(filled, settings, EVERYTHING, filled.queries, 1))
        named = ", ".join(f"{name} {value}" for name, value in effort.items())
        yield from _latency(named, answers, index)
        yield Figure(f"{named}: recall@{NEAREST}", filled.recall(EVERYTHING, answers), "", of=index.name)


def _latency(what: str, answers: Sequence[Answer], index: Variant) -> Iterator[Figure]:
    taken = [answer.milliseconds for answer in answers]
    yield Figure(f"{what}: median", quantile(taken, 0.5), "ms", of=index.name)
    yield Figure(f"{what}: p99", quantile(taken, 0.99), "ms", of=index.name)


async def _ask(filled: Filled, settings: VectorSettings, kind: Kind, queries: Matrix, clients: int) -> list[Answer]:
    """The answers to the queries, so many of which are asked at the same time, in their order."""
    adapter = MilvusVectors(settings)
    among = None if kind.among is None else filled.ids[list(kind.among)].tolist()
    answers: list[Answer] = [Answer(set(), 0.0)] * len(queries)
    waiting = iter(range(len(queries)))

    async def client() -> None:
        for number in waiting:
            begun = time.perf_counter()
            [hits] = await adapter.search([queries[number]], limit=NEAREST, bucket=kind.bucket, among=among)
            answers[number] = Answer({hit.vector_id for hit in hits}, 1000 * (time.perf_counter() - begun))

    try:
        await adapter.check()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
    finally:
        await adapter.close()
    return answers


async def _settled(index: MilvusVectors) -> None:
    """Return when Milvus has had nothing left to index for a while: it merges segments and indexes them anew."""
    quiet = 0
    async with asyncio.timeout(SETTLED_WITHIN_S):
        while quiet < SETTLED_LOOKS:
            await asyncio.sleep(2)
            indexed, stored = await index.rows_indexed()
            quiet = quiet + 1 if indexed == stored else 0


def _wait_idle(stack: Stack) -> None:
    """Return when Milvus has nothing left to do; a search beside that would be one beside another load."""
    deadline = time.monotonic() + SETTLED_WITHIN_S
    used, share = cpu_s(stack), 1.0
    while share > IDLE_SHARE and time.monotonic() < deadline:
        time.sleep(IDLE_S)
        before, used = used, cpu_s(stack)
        share = (used - before) / IDLE_S


async def _set_up(index: MilvusVectors, dimension: int) -> bool:
    """Make the collection if there is none. False if there is one that has another index."""
    try:
        await index.ensure_collection(model_name="synthetic", dimension=dimension)
    except ConfigurationError:
        return False
    return True


async def _with[T](settings: VectorSettings, act: Callable[[MilvusVectors], Awaitable[T]]) -> T:
    adapter = MilvusVectors(settings)
    try:
        return await act(adapter)
    finally:
        await adapter.close()


def _entry(ids: NDArray[np.int64], position: int, vector: NDArray[np.float32]) -> VectorEntry:
    return VectorEntry(int(ids[position]), bucket_of(position), vector)


@contextmanager
def _most_memory(stack: Stack) -> Iterator[list[int]]:
    """Bytes that Milvus has in memory, looked at every half second while the block runs."""
    done, seen = Event(), [resident(stack)]

    def watch() -> None:
        while not done.wait(0.5):
            seen.append(resident(stack))
            proc.raise_priority(stack.pids()["milvus"])

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def cpu_s(stack: Stack) -> float:
    """The CPU seconds that Milvus has used since its start."""
    return proc.cpu_by_session()[stack.pids()["milvus"]]


def resident(stack: Stack) -> int:
    """The bytes that Milvus has in memory now."""
    return stack.process("milvus").memory("VmRSS")


def main() -> None:
    """The command line."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"scale: {time.monotonic() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    install("milvus")
    dimension = load_spec(Settings().model.spec).dimension
    vectors = SyntheticVectors(options.vectors, dimension)
    with tempfile.TemporaryDirectory(prefix="twinlens-scale-") as temporary:
        result = measure(options.folder or Path(temporary), vectors, options.indexes, say)
    report.terminal().print(*report.details(f"{options.vectors:,} vectors", result.figures))
    if options.json:
        described = {"processor": proc.processor(), "vectors": options.vectors, "results": report.as_json([result], {})}
        options.json.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=int, metavar="COUNT")
    parser.add_argument(
        "--indexes", type=_variants, default="HNSW,SCANN,IVF_SQ8,IVF_FLAT", metavar="TYPE[:SETTING=VALUE…],…"
    )
    parser.add_argument("--folder", type=Path, help="keep Milvus' data there, and go on with what a former run stored")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    return parser.parse_args()


def _variants(text: str) -> list[Variant]:
    try:
        return [Variant.read(part) for part in text.split(",")]
    except ValueError as refused:
        raise argparse.ArgumentTypeError(str(refused)) from refused


if __name__ == "__main__":
    main()
