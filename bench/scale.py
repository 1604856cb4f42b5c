"""The vector index among many vectors: building, memory, latency and recall, for each type of index.

    make bench SCALE=1000000
    make bench SCALE=20000 ARGS='--indexes HNSW,SCANN --json FILE'

Starts a Milvus of its own, fills it with made-up vectors (``bench/synthetic.py``) through the adapter that the workers
use, and gives them one index after the other. Recall is the share of the ten nearest, by brute force over all vectors,
that a search for ten finds. docs/scaling.md says what came out.
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
from typing import Final, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from bench import proc, report
from bench.exact import EVERYTHING, NEAREST, RARE, Kind, Nearest, bucket_of
from bench.figures import Figure, Result, quantile
from bench.synthetic import BLOCK, Matrix, SyntheticVectors
from imaging.model_spec import load_spec
from schemas.collection import MAX_VECTOR_ID
from schemas.settings import Settings, VectorIndexType, VectorSettings
from stores.vectors.milvus import MilvusVectors
from stores.vectors.ports import VectorEntry
from tests.stack.install import install
from tests.stack.stack import Stack

QUERIES: Final = 500
WARM_UP: Final = 50
CLIENTS: Final = {1: 1, 16: 2}
"""How many searches there are at the same time, and how often all queries are asked then."""
EFFORTS: Final[Mapping[VectorIndexType, Mapping[str, Sequence[int]]]] = {
    "HNSW": {"search_ef": (64, 128, 256, 512)},
    "SCANN": {"ivf_nprobe": (16, 32, 64, 128, 256)},
    "IVF_FLAT": {"ivf_nprobe": (16, 32, 64, 128, 256)},
    "IVF_SQ8": {"ivf_nprobe": (16, 32, 64, 128, 256)},
    "DISKANN": {"search_ef": (64, 128, 256, 512)},
}
"""Settings of searching that trade recall for time, and the values that are tried."""
AMONG: Final = 2000
SETTLED_LOOKS, SETTLED_WITHIN_S = 5, 1800


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

    def settings(self, index: VectorIndexType, **effort: int) -> VectorSettings:
        """Of the adapter, with this type of index, and the defaults but for ``effort``."""
        given = {"uri": self.stack.addresses.milvus, "index": index, "timeout_s": 600}
        return VectorSettings.model_validate(given | effort)

    def recall(self, kind: Kind, answers: Sequence[Answer]) -> float:
        """The share of what should be found that the answers, one to each query, have."""
        right = [set(self.ids[positions].tolist()) for positions in self.exact[kind].positions]
        return float(np.mean([len(answer.ids & ids) / NEAREST for answer, ids in zip(answers, right, strict=True)]))


type Say = Callable[[str], None]


def measure(folder: Path, vectors: SyntheticVectors, indexes: Sequence[VectorIndexType], say: Say) -> Result:
    """Fill a Milvus in the folder, and measure each type of index on it."""
    stack = Stack(folder)
    stack.start("milvus")
    try:
        filled = asyncio.run(fill(stack, vectors, say))
        figures = [figure for index in indexes for figure in of_index(filled, index, say)]
    finally:
        stack.stop()
    return Result("scale", figures)


async def fill(stack: Stack, vectors: SyntheticVectors, say: Say) -> Filled:
    """Store all vectors, and find the exact answers meanwhile."""
    random = np.random.default_rng(0)
    ids = random.integers(0, MAX_VECTOR_ID, vectors.count)
    among = tuple(random.choice(vectors.count, min(AMONG, vectors.count), replace=False).tolist())
    kinds = [EVERYTHING, Kind("bucket", bucket=RARE), Kind("among", among=among)]
    queries = vectors.queries(QUERIES)
    filled = Filled(stack, ids, queries, {kind: Nearest(queries, kind) for kind in kinds})
    index = MilvusVectors(filled.settings("FLAT"))
    try:
        await index.ensure_collection(model_name="synthetic", dimension=vectors.dimension)
        for number, block in enumerate(vectors.blocks()):
            first = number * BLOCK
            for exact in filled.exact.values():
                exact.see(first, block)
            await index.upsert([_entry(ids, first + row, vector) for row, vector in enumerate(block)])
            say(f"stored {first + len(block):,}")
        await index.flush()
        await _settled(index)
    finally:
        await index.close()
    return filled


def of_index(filled: Filled, index: VectorIndexType, say: Say) -> Iterator[Figure]:
    """Build the index and measure searches. Memory is that of a Milvus started anew: one in use keeps what it had."""
    say(f"{index}: building")
    settings = filled.settings(index)
    begun = time.monotonic()
    with _most_memory(filled.stack) as most:
        asyncio.run(_with(settings, MilvusVectors.rebuild_index))
    yield Figure("build and load", time.monotonic() - begun, "s", of=index)
    yield Figure("most memory while building", max(most) / 2**20, "MiB", of=index)
    filled.stack.stop("milvus")
    filled.stack.start("milvus")
    begun = time.monotonic()
    asyncio.run(_with(settings, MilvusVectors.check))
    yield Figure("load", time.monotonic() - begun, "s", of=index)
    yield Figure("memory", resident(filled.stack) / 2**20, "MiB", of=index)
    say(f"{index}: searching")
    yield from searches(filled, index)
    yield Figure("memory after searches", resident(filled.stack) / 2**20, "MiB", of=index)


def searches(filled: Filled, index: VectorIndexType) -> Iterator[Figure]:
    """Latency and recall: with the defaults by kind of search and number of clients, then with other efforts."""
    settings = filled.settings(index)
    for kind in filled.exact:
        asyncio.run(_ask(filled, settings, kind, filled.queries[:WARM_UP], clients=1))
        for clients, rounds in CLIENTS.items():
            queries, used = np.tile(filled.queries, (rounds, 1)), cpu_s(filled.stack)
            answers = asyncio.run(_ask(filled, settings, kind, queries, clients))
            spent = 1000 * (cpu_s(filled.stack) - used) / len(queries)
            yield from _latency(f"{kind.name}, {clients}", answers, index)
            yield Figure(f"{kind.name}, {clients}: Milvus' CPU", spent, "ms", of=index)
        yield Figure(f"{kind.name}: recall@{NEAREST}", filled.recall(kind, answers[:QUERIES]), "", of=index)
    for name, values in EFFORTS.get(index, {}).items():
        for value in values:
            answers = asyncio.run(_ask(filled, filled.settings(index, **{name: value}), EVERYTHING, filled.queries, 1))
            yield from _latency(f"{name} {value}", answers, index)
            yield Figure(f"{name} {value}: recall@{NEAREST}", filled.recall(EVERYTHING, answers), "", of=index)


def _latency(what: str, answers: Sequence[Answer], index: VectorIndexType) -> Iterator[Figure]:
    taken = [answer.milliseconds for answer in answers]
    yield Figure(f"{what}: median", quantile(taken, 0.5), "ms", of=index)
    yield Figure(f"{what}: p99", quantile(taken, 0.99), "ms", of=index)


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


async def _with(settings: VectorSettings, act: Callable[[MilvusVectors], Awaitable[None]]) -> None:
    adapter = MilvusVectors(settings)
    try:
        await act(adapter)
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
    with tempfile.TemporaryDirectory(prefix="twinlens-scale-") as folder:
        result = measure(Path(folder), SyntheticVectors(options.vectors, dimension), options.indexes, say)
    report.terminal().print(*report.details(f"{options.vectors:,} vectors", result.figures))
    if options.json:
        described = {"processor": proc.processor(), "vectors": options.vectors, "results": report.as_json([result], {})}
        options.json.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=int, metavar="COUNT")
    parser.add_argument("--indexes", type=_indexes, default=["HNSW", "SCANN", "IVF_SQ8", "IVF_FLAT"], metavar="TYPE,…")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    return parser.parse_args()


def _indexes(text: str) -> list[str]:
    chosen = text.split(",")
    unknown = sorted(set(chosen) - set(get_args(VectorIndexType)))
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(get_args(VectorIndexType))}")
    return chosen


if __name__ == "__main__":
    main()
