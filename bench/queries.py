"""What searching costs: over HTTP beside the sum of its parts, with many clients, and beside clients that misbehave.

    python -m bench.queries FOLDER [--pictures 1000] [--seconds 8] [--json FILE]

by itself starts an installation and indexes pictures of the folder first. The parts are measured bare, with the same
pictures, in the same run. The clients share the machine with the service; what they cost is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import load, report
from bench.bench import Bench, Scale
from bench.beside import searches_beside
from bench.ceiling import Ceiling
from bench.figures import Figure, Result, quantile
from bench.installation import Choice, installed
from bench.parts import parts
from bench.photographs import Photographs
from bench.searching import Requests, Timed, details, timed

CLIENTS = (1, 8, 64)


def measure(bench: Bench) -> Result:
    """Searches by upload and by id, and lists; the workers are idle."""
    bench.fill_stock(bench.scale.pictures)
    bench.say("searching and listing with 1, 8 and 64 clients")
    with tempfile.TemporaryDirectory(prefix="twinlens-queries-") as name:
        requests = Requests(Path(name), bench)
        ceiling = bench.ceiling(requests.pictures)
        figures = asyncio.run(_figures(bench, requests, ceiling))
        if bench.scale.beside:
            figures += searches_beside(bench, requests)
        return Result("queries", figures)


async def _figures(bench: Bench, requests: Requests, ceiling: Ceiling) -> list[Figure]:
    running, scale = bench.installation.running, bench.scale
    async with parts(running.place, bench.null_model_ms) as bare:
        alone = {
            "upload": await bare.of_upload(requests.copies()),
            "id": await bare.of_id(requests.images),
            "list": await bare.of_list(scale.queries),
        }
    figures = [Figure("upload_ceiling_cpu", ceiling.cpu_ms, "ms a picture")]
    for kind, folder in requests.folders.items():
        figures += [Figure(part, spent, "ms", of=f"{kind}, bare") for part, spent in alone[kind].items()]
        await load.in_own_process(requests.address, folder, clients=2, seconds=scale.warm_up_s)
        loads = {count: await timed(running, requests, folder, count, scale.load_s) for count in CLIENTS}
        figures += _of_kind(kind, loads, alone[kind]["sum"], ceiling.per_second if kind == "upload" else None)
    figures += await _of_verified(bench, requests)
    return figures


async def _of_verified(bench: Bench, requests: Requests) -> list[Figure]:
    """One client's searches, each as usual and then verified: while nothing of the hits is known, and while all is."""
    seconds = 2 * bench.scale.load_s
    with bench.installation.forgetting_pictures():
        usual, anew = await _alternately(bench, requests, seconds)
    await _alternately(bench, requests, seconds)
    usual_too, known = await _alternately(bench, requests, seconds)
    return [
        Figure("verified_1_median", anew, "ms", usual),
        Figure("verified_1_of_upload", anew / usual, ""),
        Figure("verified_known_1_of_upload", known / usual_too, ""),
    ]


async def _alternately(bench: Bench, requests: Requests, seconds: float) -> tuple[float, float]:
    """The medians of searches as usual and of verified ones, in milliseconds."""
    found, _ = await timed(bench.installation.running, requests, requests.verified, 1, seconds)
    usual, verified = (quantile(found.milliseconds[start::2] or [math.nan], 0.5) for start in (0, 1))
    return usual, verified


def _of_kind(kind: str, loads: Mapping[int, Timed], bare_ms: float, ceiling: float | None) -> Iterator[Figure]:
    """One kind's figures: of one client beside the bare parts, of many beside the embedding ceiling if they embed."""
    median = quantile(loads[1][0].milliseconds, 0.5)
    yield Figure(f"{kind}_1_median", median, "ms", bare_ms)
    yield Figure(f"{kind}_1_of_parts", median / bare_ms, "")
    yield Figure(f"{kind}_best", max(found.per_second for found, _ in loads.values()), "answers/s", ceiling)
    if ceiling is not None:
        yield Figure(f"{kind}_64_of_ceiling", loads[64][0].per_second / ceiling, "")
    for clients, each in loads.items():
        yield from details(f"{kind}, {clients}", each)


def main() -> None:
    """Start an installation, measure searches on it, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photographs to index and to search with")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scale = dataclasses.replace(Scale(), pictures=options.pictures, load_s=options.seconds)
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as name, installed(Path(name), Choice()) as installation:
        console = report.terminal()
        result = measure(Bench(installation, Photographs.of_folder(options.folder), scale, console.print))
    report.show(console, [result], goals={})
    if options.json:
        options.json.write_text(json.dumps(report.as_json([result], goals={}), indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
