"""A switch of models on the real servers, under load and with kills: nobody who searches notices but by the answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from imaging.decoding import decode
from imaging.embedding import OnnxEmbedder
from imaging.limits import DecodeLimits
from imaging.model_spec import ModelSpec, OnnxFile, PixelSpec, load_spec
from ops.copies import TRANSFORMS
from stores.vectors.milvus_errors import silence_pymilvus
from tests.harness.commands import undocumented
from tests.harness.live import QUICK, Live, until
from tests.harness.pictures import picture
from tests.harness.reading import read_bucket
from tests.harness.stack.process import ServerProcess
from tests.harness.stack.stack import Addresses
from tests.harness.stack.supervisor import Supervisor

KEPT = 36
"""Pictures that are there from beginning to end: a search for a copy of one has to find it at any time."""
RATE = 8
"""Contents brought over a second: slowly enough to kill somebody meanwhile."""
COPY = "mirrored"
SIDE = 160
"""Both models find the mirrored copies of pictures of this size first, each of them."""


def own_model(folder: Path) -> Path:
    """The spec file of a model that no settings name: the distilled network, which is shown pictures in another way."""
    spec = load_spec("sscd_distilled")
    pixels = PixelSpec(width=spec.pixels.width, height=spec.pixels.height, resize="crop", resize_size=250)
    mine = spec.model_copy(update={"id": "own", "pixels": pixels, "onnx": OnnxFile(path=spec.onnx_path())})
    path = folder / "own.yaml"
    path.write_text(ModelSpec.model_validate(mine.model_dump()).model_dump_json(exclude_none=True), encoding="utf-8")
    return path


class Load:
    """Searches, puts and deletes until it is stopped; ``failures`` are searches that went wrong."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._stop = threading.Event()
        self.failures: list[str] = []
        self.searches = 0
        self.models: set[str] = set()

    def stop(self) -> None:
        """No more from now on."""
        self._stop.set()

    def search(self) -> None:
        """Copies of kept pictures, one after the other."""
        with httpx.Client(base_url=self._live.application.api_url, timeout=60) as api:
            while not self._stop.is_set():
                number = self.searches % KEPT
                copy = TRANSFORMS[COPY](picture(number, side=SIDE))
                answer = api.post("/v1/search", params={"limit": 3}, files={"file": ("q.jpg", copy)})
                self.searches += 1
                if answer.status_code != httpx.codes.OK:
                    self.failures.append(answer.text)
                    continue
                found = answer.json()
                self.models.add(found["model"])
                if not found["results"] or found["results"][0]["image"]["key"] != f"kept/{number}.png":
                    self.failures.append(f"{number} was not found first: {found['results'][:1]}")

    def change(self) -> None:
        """New pictures, and the removal of some of them."""
        number = 0
        while not self._stop.wait(0.4):
            self._live.put(f"new/{number}.png", picture(1000 + number, side=SIDE))
            if number % 3 == 2:
                self._live.delete(f"new/{number - 1}.png")
            number += 1


@contextmanager
def supervised(processes: Mapping[str, ServerProcess]) -> Iterator[None]:
    """Whatever ends is started again meanwhile; then all are stopped."""
    stop = threading.Event()

    def watch() -> None:
        supervisor = Supervisor(processes, lambda _: None)
        while not stop.wait(0.1):
            supervisor.look()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        stop.set()
        watching.join()
        for process in processes.values():
            process.stop()


@contextmanager
def loaded(live: Live) -> Iterator[Load]:
    """Everything at once."""
    load = Load(live)
    threads = [threading.Thread(target=work) for work in (load.search, load.change)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop()
        for thread in threads:
            thread.join()


def workers(live: Live) -> dict[str, ServerProcess]:
    """The workers that a switch of models starts anew."""
    return {role: live.application.processes[role] for role in ("ingest", "index")}


def command(live: Live, *arguments: str) -> subprocess.Popen[str]:
    """`twinlens models switch` with these arguments."""
    program = str(Path(sys.executable).with_name("twinlens"))
    environment = {**os.environ, **live.environment}
    pipe: Any = subprocess.PIPE
    return subprocess.Popen(
        [program, "models", "switch", *arguments], env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    """What a command said, once it has ended with this code."""
    said, _ = process.communicate(timeout=150)
    assert process.returncode == code, said
    return said


def stored(live: Live) -> dict[str, int]:
    """The collections of this installation, and how many vectors each has."""
    client = MilvusClient(live.environment["TWINLENS_VECTORS__URI"])
    names = [name for name in client.list_collections() if name.startswith(live.place.alias)]
    strong: Any = {"output_fields": ["count(*)"], "consistency_level": "Strong"}
    counts = {}
    for name in names:
        # One that is just being made, or dropped, can't be counted.
        with suppress(MilvusException):
            counts[name] = client.query(name, filter="", **strong)[0]["count(*)"]
    client.close()
    return counts


def live_vectors(live: Live) -> np.ndarray[Any, Any]:
    """All vectors behind the alias."""
    client = MilvusClient(live.environment["TWINLENS_VECTORS__URI"])
    rows = client.query(live.place.alias, filter="id >= 0", output_fields=["vector"], consistency_level="Strong")
    client.close()
    return np.array([row["vector"] for row in rows], np.float32)


def brought_over(live: Live) -> Callable[[], int]:
    """How many vectors the new collection has."""
    return lambda: max([count for name, count in stored(live).items() if "_own_" in name], default=0)


def test_models_are_switched_under_load(all_servers: Addresses, twinlens_env: dict[str, str], tmp_path: Path) -> None:
    """With the command, the index and the ingest worker killed on the way, no search fails and each finds its original.

    In the end all is as a fresh index by the new model would have it, and the collection of before is gone.
    """
    silence_pymilvus()
    live = Live(all_servers, {**twinlens_env, **QUICK}, tmp_path)
    own = own_model(tmp_path)
    try:
        live.application.setup()
        for number in range(KEPT):
            live.put(f"kept/{number}.png", picture(number, side=SIDE))
        live.start("ingest", "index", "api")
        until(lambda: sum(stored(live).values()) == KEPT, "the pictures are indexed")
        renewed = live.with_environment({"TWINLENS_MODEL__SPEC": str(own)})
        with loaded(live) as load, ExitStack() as supervision:
            with supervised(workers(live)):
                _switch_with_kills(live, own)
                until(lambda: "own" in load.models, "the query service follows")
                assert "searches by indexed pictures" in ended(command(live, "--compare", "30"))
                assert "first set model.spec" in ended(command(live, "--finish"), code=2)
            renewed.start("ingest", "index")
            supervision.enter_context(supervised(workers(renewed)))
            assert "the old collection is dropped" in ended(command(renewed, "--finish"))
            searched = load.searches
            until(lambda: load.searches > searched + KEPT, "searches after that")
            load.stop()
            assert live.settles().total == 0
        assert load.failures == []
        assert load.models == {"sscd_distilled", "own"}
        assert len(stored(live)) == 1
        _assert_like_a_fresh_index(live, own)
    finally:
        live.stop()


def test_a_switch_is_rolled_back(all_servers: Addresses, twinlens_env: dict[str, str], tmp_path: Path) -> None:
    """The old model is in use again, also for what came after the swap, and nothing is left of the other collection."""
    silence_pymilvus()
    live = Live(all_servers, {**twinlens_env, **QUICK}, tmp_path)
    try:
        live.application.setup()
        for number in range(4):
            live.put(f"kept/{number}.png", picture(number, side=SIDE))
        live.start("ingest", "index", "api")
        until(lambda: sum(stored(live).values()) == 4, "the pictures are indexed")
        with supervised(workers(live)):
            switched = ended(command(live, str(own_model(tmp_path)), "--json")).splitlines()[-1]
            assert undocumented("models switch", switched) == set()
            assert json.loads(switched)["in_use"] is True
            until(lambda: found(live, 0) == ("own", "kept/0.png"), "the query service follows")
            live.put("kept/4.png", picture(4, side=SIDE))
            until(lambda: list(stored(live).values()) == [5, 5], "the new picture is in both collections")
            compared = ended(command(live, "--compare", "3", "--json")).splitlines()[-1]
            assert undocumented("models switch", compared) == set()
            assert json.loads(compared)["searches"] == 3
            assert '{"action": "rollback"}' in ended(command(live, "--rollback", "--json"))
            until(lambda: found(live, 4) == ("sscd_distilled", "kept/4.png"), "the query service follows back")
            assert live.settles().total == 0
        assert list(stored(live).values()) == [5]
        assert live_vectors(live).shape[0] == len(read_bucket(live.place))
    finally:
        live.stop()


def found(live: Live, number: int) -> tuple[str, str | None]:
    """The model that a search for a copy goes by, and the key that it finds first."""
    copy = TRANSFORMS[COPY](picture(number, side=SIDE))
    answer = httpx.post(f"{live.application.api_url}/v1/search", files={"file": ("q.jpg", copy)}, timeout=60)
    told = answer.raise_for_status().json()
    return told["model"], next((hit["image"]["key"] for hit in told["results"]), None)


def _switch_with_kills(live: Live, own: Path) -> None:
    begun, processes = command(live, str(own), "--rate", str(RATE)), live.application.processes
    until(lambda: brought_over(live)() > KEPT / 6, "the first are brought over")
    begun.kill()
    begun.communicate()
    again = command(live, str(own), "--rate", str(RATE))
    for role, share in (("index", 1 / 3), ("ingest", 1 / 2)):
        until(lambda share=share: brought_over(live)() > KEPT * share, "some more are brought over")  # type: ignore[misc]
        processes[role].kill()
    said = ended(again)
    assert "own is in use" in said


def _assert_like_a_fresh_index(live: Live, own: Path) -> None:
    spec = load_spec(own)
    embedder = OnnxEmbedder(spec, threads=2)
    pictures = sorted(set(read_bucket(live.place).values()))
    fresh = embedder.embed([decode(data, DecodeLimits(), spec.pixels).pixels for data in pictures])
    vectors = live_vectors(live)
    assert len(vectors) == len(pictures) > KEPT
    assert (fresh @ vectors.T).max(axis=1).min() > 0.9999
    assert (fresh @ vectors.T).max(axis=0).min() > 0.9999
