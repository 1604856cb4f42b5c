"""Rows of the service that Twinlens replaces, and copies of its objects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.main import get_command

from ops.cli import app
from ops.predecessor import PAGE, Copier, Outcome, PredecessorPicture, Result, Rows
from schemas.errors import ObjectStoreOutage
from schemas.records import EXTERNAL_ID, ObjectRef
from schemas.settings import DatabaseSettings, RetrySettings
from stores.catalog.engine import create_engine
from stores.objects.left_out import LeftOut
from stores.objects.memory import MemoryObjects
from streams.common.backoff import OutageRetry, Outages

OLD, NEW = "old", "pictures"
DATA = b"a picture"
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
PATIENCE = OutageRetry(RetrySettings(budget_s=0.1, wait_initial_s=0.01, wait_max_s=0.01, wait_jitter_s=0), Outages())


def old_picture(**changes: Any) -> PredecessorPicture:
    """A row of the predecessor's, whose object is there."""
    return PredecessorPicture(7, "uuid-7", MD5, "beach.jpg", f"meta/image/{MD5}.jpg")._replace(**changes)


def stores() -> tuple[MemoryObjects, MemoryObjects]:
    """The predecessor's object store, with the picture, and ours."""
    source = MemoryObjects([OLD])
    source.put_now(ObjectRef(OLD, old_picture().file_path), DATA, content_type="image/jpeg")
    return source, MemoryObjects([NEW])


def copier(source: MemoryObjects, objects: MemoryObjects, **changes: Any) -> Copier:
    """From the one store into the other."""
    parts: dict[str, Any] = {"prefix": "", "left_out": LeftOut(["**/Thumbs.db"]), "max_bytes": 100, "dry_run": False}
    return Copier(source, OLD, objects, NEW, retry=PATIENCE, **{**parts, **changes})


async def test_a_picture_gets_an_object_of_its_own() -> None:
    """Rows that shared an object have one each, with their ids, under their file names."""
    source, objects = stores()
    twin = old_picture(id=8, meta_uuid="ü/日本", file_name="Strand 1.jpg", hash_code=MD5.upper())
    for picture in (old_picture(), twin):
        assert await copier(source, objects, prefix="p/").copy(picture) == Result(Outcome.COPIED)
    assert objects.present(NEW) == {"p/uuid-7/beach.jpg": DATA, "p/ü/日本/Strand 1.jpg": DATA}
    state = await objects.head(ObjectRef(NEW, "p/ü/日本/Strand 1.jpg"))
    assert state is not None
    assert state.content_type == "image/jpeg"
    assert unquote(state.metadata[EXTERNAL_ID]) == "ü/日本"
    assert (state.metadata["predecessor-id"], state.metadata["predecessor-md5"]) == ("8", MD5)


async def test_what_was_copied_is_not_read_again() -> None:
    """The second run needs our object's head alone: even the original may be gone."""
    source, objects = stores()
    assert (await copier(source, objects).copy(old_picture())).outcome is Outcome.COPIED
    before = await objects.head(ObjectRef(NEW, "uuid-7/beach.jpg"))
    source.delete_now(ObjectRef(OLD, old_picture().file_path))
    assert await copier(source, objects).copy(old_picture()) == Result(Outcome.PRESENT)
    assert await objects.head(ObjectRef(NEW, "uuid-7/beach.jpg")) == before


@pytest.mark.parametrize(
    ("changes", "outcome", "why"),
    [
        ({"file_path": "meta/image/gone.jpg"}, Outcome.MISSING, "there is no object old/meta/image/gone.jpg"),
        ({"hash_code": "f" * 32}, Outcome.DIFFERS, f"has the MD5 {MD5}, and the row {'f' * 32}"),
        ({"file_name": "../x.jpg"}, Outcome.REFUSED, "'.' and '..' can't be segments"),
        ({"file_path": "a//b"}, Outcome.UNREADABLE, "a segment is empty"),
        ({"file_name": "Thumbs.db"}, Outcome.REFUSED, "objects.exclude"),
        ({"meta_uuid": "日" * 250}, Outcome.REFUSED, "2,048 are allowed"),
    ],
)
async def test_what_can_not_be_copied_is_told_with_its_reason(
    changes: dict[str, str], outcome: Outcome, why: str
) -> None:
    """Nothing is written for it."""
    source, objects = stores()
    result = await copier(source, objects).copy(old_picture(**changes))
    assert result.outcome is outcome
    assert why in result.why
    assert outcome.is_failure
    assert not objects.present(NEW)


async def test_an_object_that_is_too_large_is_refused_unread() -> None:
    """It would be rejected by the index, too."""
    source, objects = stores()
    assert (await copier(source, objects, max_bytes=8).copy(old_picture())).outcome is Outcome.REFUSED


async def test_another_object_under_the_key_is_never_overwritten() -> None:
    """Neither one that was there, nor another picture's, nor one that comes while the original is read."""
    source, objects = stores()
    objects.put_now(ObjectRef(NEW, "uuid-7/beach.jpg"), DATA)
    assert (await copier(source, objects).copy(old_picture())).outcome is Outcome.OCCUPIED
    await copier(source, objects).copy(old_picture(meta_uuid="a", file_name="b/c.jpg"))
    same_key = await copier(source, objects).copy(old_picture(id=8, meta_uuid="a/b", file_name="c.jpg"))
    assert same_key == Result(Outcome.OCCUPIED, "pictures/a/b/c.jpg is another object")

    class Overtaken(MemoryObjects):
        async def put(self, ref: ObjectRef, data: bytes, **conditions: Any) -> str:
            self.put_now(ref, b"theirs")
            return await super().put(ref, data, **conditions)

    overtaken = Overtaken([NEW])
    assert (await copier(source, overtaken).copy(old_picture())).outcome is Outcome.OCCUPIED
    assert overtaken.present(NEW) == {"uuid-7/beach.jpg": b"theirs"}


async def test_a_dry_run_checks_everything_and_writes_nothing() -> None:
    """It says what a run would say."""
    source, objects = stores()
    dry = copier(source, objects, dry_run=True)
    assert (await dry.copy(old_picture())).outcome is Outcome.COPIED
    assert (await dry.copy(old_picture(hash_code="f" * 32))).outcome is Outcome.DIFFERS
    assert not objects.present(NEW)


async def test_an_original_that_can_not_be_read_is_left_out_alone() -> None:
    """While its bucket answers, the import goes on."""
    source, objects = stores()
    source.denied.add(ObjectRef(OLD, old_picture().file_path))
    assert (await copier(source, objects).copy(old_picture())).outcome is Outcome.UNREADABLE


async def test_an_outage_is_nobodys_missing_object() -> None:
    """It ends the import once the retry budget is used up, and no picture counts as left out."""
    source, objects = stores()
    source.outage = True
    with pytest.raises(ObjectStoreOutage):
        await copier(source, objects).copy(old_picture())


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """A database with the predecessor's table, as far as it is read, with more rows than a page."""
    engine = create_engine(DatabaseSettings(url=SecretStr(f"sqlite+aiosqlite:///{tmp_path}/old.db")), may_create=True)
    async with engine.begin() as connection:
        columns = (
            "id INTEGER PRIMARY KEY, file_path TEXT, file_name TEXT, milvus_id INT, hash_code TEXT, meta_uuid TEXT"
        )
        await connection.execute(text(f"CREATE TABLE image_meta ({columns})"))
        rows = [{"id": 3 * number, "name": f"{number}.jpg"} for number in range(PAGE + 2, 0, -1)]
        await connection.execute(text("INSERT INTO image_meta VALUES (:id, 'path', :name, 1, 'md5', 'uuid')"), rows)
    yield engine
    await engine.dispose()


async def test_rows_are_read_in_pages_by_their_ids(engine: AsyncEngine) -> None:
    """Each once, in order, from behind any id."""
    rows = Rows(engine, PATIENCE)
    pages = [page async for page in rows.pages(after=3)]
    assert [len(page) for page in pages] == [PAGE, 1]
    assert [picture.id for page in pages for picture in page] == list(range(6, 3 * (PAGE + 3), 3))
    assert pages[0][0] == PredecessorPicture(6, "uuid", "md5", "2.jpg", "path")
    assert (await rows.count(), await rows.count(after=3)) == (PAGE + 2, PAGE + 1)


def test_the_guide_names_every_option_and_every_reason() -> None:
    """docs/migration.md leads through the command as it is."""
    guide = (Path(__file__).parents[3] / "docs" / "migration.md").read_text(encoding="utf-8")
    command = get_command(app).commands["import-predecessor"]  # type: ignore[attr-defined]  # it is a group
    names = {parameter.envvar or parameter.opts[0] for parameter in command.params}
    assert {name for name in names if name not in guide} == set()
    assert set(re.findall(r"TWINLENS_PREDECESSOR_\w+", guide)) <= names
    assert [outcome for outcome in Outcome if outcome.is_failure and f"| `{outcome}` |" not in guide] == []
