"""The full comparison of bucket, SQL, Milvus, the change stream and search answers, with none of Twinlens's own code.

Plain clients, plain SQL: what is compared here must not be compared by the code that it judges.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import httpx

from tests.harness.reading import Place, read_bucket, read_catalog, read_topic, read_vector_ids, read_view_ids

EXAMPLES = 10
SEARCH_LIMIT = 50


@dataclass(slots=True)
class Differences:
    """How many differences of each kind, with the first few named."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    def note(self, kind: str, subjects: Collection[object]) -> None:
        """Add what was found; every kind that was looked for is named, with zero if need be."""
        self.counts[kind] = self.counts.get(kind, 0) + len(subjects)
        if subjects:
            self.examples.setdefault(kind, []).extend(sorted(str(subject) for subject in subjects)[:EXAMPLES])

    def as_json(self) -> dict[str, object]:
        """All of it."""
        return {"total": self.total, **self.counts, "compared": self.compared, "examples": self.examples}


async def compare(
    place: Place, *, gone: Collection[bytes] = (), broken: Collection[bytes] = (), search: bool = True
) -> Differences:
    """Compare everything. ``gone``: pictures that were there once; ``broken``: bytes that are no pictures."""
    objects = await asyncio.to_thread(read_bucket, place)
    rows = await read_catalog(place)
    vector_ids = await asyncio.to_thread(read_vector_ids, place)
    view_ids = await asyncio.to_thread(read_view_ids, place)
    hashes = {key: hashlib.sha256(data).hexdigest() for key, data in objects.items()}
    unfit = {hashlib.sha256(data).hexdigest() for data in broken}
    found = Differences()
    found.compared = {
        "objects": len(objects),
        "rows": len(rows.images),
        "contents": len(rows.states),
        "vectors": len(vector_ids),
    }
    found.note("objects that SQL does not know", hashes.keys() - rows.images.keys())
    found.note("rows without an object", rows.images.keys() - hashes.keys())
    both = hashes.keys() & rows.images.keys()
    found.note("rows about other bytes", [key for key in both if hashes[key] != rows.images[key]])
    found.note("contents that no object has", rows.states.keys() - set(hashes.values()))
    wanted = {digest: "rejected" if digest in unfit else "indexed" for digest in set(hashes.values())}
    actual = {digest: rows.states.get(digest) for digest in wanted}
    wrong = [f"{digest}: {actual[digest]}" for digest, state in wanted.items() if actual[digest] != state]
    found.note("contents in another state than they should have", wrong)
    found.note("unfinished marks", rows.unfinished)
    found.note("vectors that are missing", rows.vector_ids.keys() - vector_ids)
    found.note("vectors that nobody has", vector_ids - rows.vector_ids.keys())
    for name, ids in view_ids.items():
        found.note("views that are missing", [f"{name}: {each}" for each in rows.vector_ids.keys() - ids])
        found.note("views that nobody has", [f"{name}: {each}" for each in ids - rows.vector_ids.keys()])
    await _compare_changes(place, hashes, wanted, found)
    found.note("dead letters", [key for key, _ in await read_topic(place, "dead-letters")])
    if search and place.api is not None:
        await _compare_answers(place, place.api, objects, gone, unfit, found)
    return found


async def _compare_changes(
    place: Place, hashes: Mapping[str, str], states: Mapping[str, str], found: Differences
) -> None:
    """The last snapshot of each key must be the truth: its bytes, and what became of them.

    Versions only rise; behind a tombstone, that is not promised where clocks are set back.
    """
    last: dict[str, tuple[str, str | None]] = {}
    falling = []
    versions: dict[str, int] = {}
    for key, value in await read_topic(place, "image-changes"):
        if value is None:
            last.pop((key or b"").decode().partition("/")[2], None)
            continue
        snapshot = json.loads(value)
        name = snapshot["key"]
        is_gone = name not in last or last[name][0] == "removed"
        if snapshot["version"] <= versions.get(name, -1) and not (place.clocks_wrong and is_gone):
            falling.append(name)
        versions[name] = snapshot["version"]
        last[name] = snapshot["state"], snapshot["sha256"]
    gone = [f"{name}: {state}" for name, (state, _) in last.items() if name not in hashes and state != "removed"]
    truth = {name: (states[digest], digest) for name, digest in hashes.items()}
    wrong = [f"{name}: {last.get(name)}" for name, is_so in truth.items() if last.get(name) != is_so]
    found.compared["changes"] = len(last)
    found.note("keys whose last change is not the truth", gone + wrong)
    found.note("changes whose version does not rise", falling)


async def _compare_answers(
    place: Place,
    api: str,
    objects: Mapping[str, bytes],
    gone: Collection[bytes],
    unfit: Collection[str],
    found: Differences,
) -> None:
    """Each picture must be found with all its keys, and none that is gone."""
    keys_by_picture: dict[bytes, set[str]] = {}
    for key, data in objects.items():
        keys_by_picture.setdefault(data, set()).add(key)

    def fit(data: bytes) -> bool:
        return hashlib.sha256(data).hexdigest() not in unfit

    present = {data: keys for data, keys in keys_by_picture.items() if fit(data)}
    absent = {data: set[str]() for data in gone if data not in keys_by_picture and fit(data)}
    wrong: list[str] = []
    ghosts: list[str] = []
    failed: list[str] = []
    slots = asyncio.Semaphore(4)
    async with httpx.AsyncClient(base_url=api, timeout=30) as client:

        async def ask(data: bytes, keys: set[str]) -> None:
            async with slots:
                options: dict[str, str | int] = {"bucket": place.bucket, "limit": SEARCH_LIMIT, "fresh": "true"}
                answer = await client.post(
                    "/v1/search", params=options, content=data, headers={"Content-Type": "image/png"}
                )
            if answer.status_code != httpx.codes.OK:
                failed.append(f"{answer.status_code} {answer.text[:200]}")
                return
            results = answer.json()["results"]
            exact = {key for hit in results if hit["verdict"] == "exact" for key in hit["keys"]}
            if exact != keys:
                wrong.append(f"{hashlib.sha256(data).hexdigest()}: {sorted(exact)[:3]} for {sorted(keys)[:3]}")
            ghosts.extend(key for hit in results for key in hit["keys"] if key not in objects)

        await asyncio.gather(*[ask(data, keys) for data, keys in {**present, **absent}.items()])
    found.compared["searches"] = len(present) + len(absent)
    found.note("searches that failed", failed)
    found.note("searches that miss or invent an exact hit", wrong)
    found.note("keys in answers that are not in the bucket", set(ghosts))
