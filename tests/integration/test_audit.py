"""The audit on a real Milvus that has lost vectors and doesn't know it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from pymilvus import MilvusClient

from schemas.records import ContentState
from schemas.settings import VectorSettings
from stores.vectors.milvus import MilvusVectors
from stores.vectors.ports import VectorEntry
from streams.assembly import Ports, for_index
from streams.common.ports import SystemClock
from streams.index.converge_contents import without_vector
from streams.repair.audit import missing_among
from tests.harness.catalogs import add_content
from tests.harness.installation import ports_in_memory
from tests.harness.stack.stack import Stack
from tests.harness.vectors import DIMENSION, MODEL, entries, random_ids
from tests.harness.waiting import until

ROWS: Final = 1200
"""Milvus makes no graph for fewer than 1,024."""
ALIAS: Final = "audited"
LINKS: Final = 33 * 4
"""Bytes before each vector in the graph's lowest level: the number of its neighbours, and room for 2 M of them."""
EVENT_HEADER: Final = 33
"""Bytes before the data in an index file; the data's length and the file's end are numbers in it."""


async def test_vectors_that_milvus_counts_and_does_not_find_are_missed(tmp_path: Path) -> None:
    """With the graph's links lost on the disk, Milvus counts and returns each vector; the audit finds them missing."""
    stack = Stack(tmp_path, short_lived=True)
    stack.start("milvus")
    try:
        index = MilvusVectors(VectorSettings(uri=stack.addresses.milvus, alias=ALIAS))
        await until(lambda: index.ensure_collection(model_name=MODEL, dimension=DIMENSION), through_outages=True)
        stored = entries(random_ids(ROWS))
        await index.upsert(stored)
        await index.flush()
        ports = _ports(index)
        contents = [
            await add_content(
                ports.catalog, letter, state=ContentState.INDEXED, vector_id=entry.vector_id, dirty_since=None
            )
            for letter, entry in zip("0123456789abcdef", stored, strict=False)
        ]
        client = MilvusClient(stack.addresses.milvus)
        await until(lambda: _indexed_rows(client), lambda rows: rows == ROWS)
        assert await missing_among(contents, ports.catalog, ports.vectors) == []

        client.release_collection(ALIAS)
        [graph] = (tmp_path / "milvus" / "data" / "index_files").rglob("HNSW")
        _cut_links(graph, stored)
        client.load_collection(ALIAS)
        client.close()

        assert await index.count() == ROWS
        assert len(await index.get([entry.vector_id for entry in stored])) == ROWS
        missing = await missing_among(contents, ports.catalog, ports.vectors)
        assert len(missing) > len(contents) / 2
        assert await without_vector(missing, for_index(ports).deciding) == missing
        await index.close()
    finally:
        stack.stop()


def _ports(index: MilvusVectors) -> Ports:
    return ports_in_memory(vectors=index, clock=SystemClock())


async def _indexed_rows(client: MilvusClient) -> int:
    described = await asyncio.to_thread(client.describe_index, ALIAS, "vector")
    return int(described["indexed_rows"])


def _cut_links(file: Path, stored: list[VectorEntry]) -> None:
    """Let every vector of an index file have no neighbours; a search then sees the first one and those above it."""
    written = file.read_bytes()
    begin = written.index(b"PAR1")
    table = parquet.read_table(pa.BufferReader(written[begin:]))
    graph = bytearray(table.column("val").to_numpy().astype(np.int8).tobytes())
    for entry in stored:
        at = graph.index(entry.vector.tobytes()) - LINKS
        graph[at : at + 4] = bytes(4)
    sink = pa.BufferOutputStream()
    column = pa.array(np.frombuffer(bytes(graph), np.int8))
    parquet.write_table(pa.table({"val": column}, schema=table.schema), sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    end = begin + len(data)
    numbers = (end - begin + EVENT_HEADER).to_bytes(4, "little") + end.to_bytes(4, "little")
    file.write_bytes(written[: begin - 24] + numbers + written[begin - 16 : begin] + data)
