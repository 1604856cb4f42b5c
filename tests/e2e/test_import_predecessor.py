"""`twinlens import-predecessor` on the real stack, from tables and objects made as the predecessor makes them."""

from __future__ import annotations

import hashlib
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from schemas.exit_codes import ExitCode
from tests.harness.command_line import twinlens
from tests.harness.live import Live, until
from tests.harness.pictures import picture
from tests.harness.stack.cleanup import in_own_loop

TABLE = (
    "CREATE TABLE `image_meta` (`id` INTEGER AUTO_INCREMENT NOT NULL PRIMARY KEY, `meta_uuid` VARCHAR(255) NOT NULL, "
    "`hash_code` VARCHAR(255) NOT NULL, `milvus_id` INTEGER NOT NULL, `file_name` VARCHAR(255) NOT NULL, "
    "`file_path` VARCHAR(255) NOT NULL, `created_at` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, "
    "`updated_at` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP)"
)
"""As peewee writes it for the predecessor's model."""
INSERT = (
    "INSERT INTO image_meta (meta_uuid, hash_code, milvus_id, file_name, file_path) "
    "VALUES (:meta_uuid, :hash_code, 2147483647, :file_name, :file_path)"
)


def row(data: bytes, meta_uuid: str, file_name: str) -> dict[str, str]:
    """What the predecessor notes of an upload."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return {
        "meta_uuid": meta_uuid,
        "hash_code": md5,
        "file_name": file_name,
        "file_path": f"meta/image/{md5}.png",
    }


async def make_table(url: str, rows: list[dict[str, str]]) -> None:
    """The predecessor's table with these rows."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(TABLE))
            await connection.execute(text("CREATE UNIQUE INDEX imagemetatable_meta_uuid ON image_meta (meta_uuid)"))
            await connection.execute(text(INSERT), rows)
    finally:
        await engine.dispose()


def import_predecessor(
    live: Live, folder: Path, database: str, bucket: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run the command, with the predecessor's credentials in the environment."""
    objects = {name: live.environment[f"TWINLENS_OBJECTS__{name}"] for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY")}
    environment = {f"TWINLENS_PREDECESSOR_{name}": value for name, value in objects.items()}
    return twinlens(
        *("import-predecessor", "--source-bucket", bucket, "--prefix", "imported/", *options),
        environment={**live.environment, **environment, "TWINLENS_PREDECESSOR_DATABASE": database},
        folder=folder,
    )


def test_pictures_are_imported_and_their_old_links_lead_to_them(
    live: Live, api: httpx.Client, mariadb_url: str, bucket: str, tmp_path: Path
) -> None:
    """Everything arrives once, what can't is told, and `meta_uuid` and `hash_code` find the pictures in the index."""
    data, missing, changed, odd = (picture(number) for number in range(9700, 9704))
    rows = [
        row(data, "uuid-1", "beach.png"),
        row(data, "ü 日本", "Strand 1.png"),
        row(missing, "uuid-missing", "a.png"),
        row(changed, "uuid-changed", "b.png"),
        row(odd, "uuid-odd", "../\x1b[31m.png"),
    ]
    in_own_loop(make_table(mariadb_url, rows))
    for number, content in ((0, data), (3, b"other bytes"), (4, odd)):
        live.s3.put_object(bucket, rows[number]["file_path"], BytesIO(content), len(content), "image/png")

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return import_predecessor(live, tmp_path, mariadb_url, bucket, *options)

    def imported() -> dict[str | None, Any]:
        found = live.s3.list_objects(live.bucket, prefix="imported/", recursive=True)
        return {each.object_name: (each.etag, each.last_modified) for each in found}

    left_out = "1 without an object, 1 with another MD5, 1 refused"
    dry = run("--dry-run")
    assert (dry.returncode, imported()) == (1, {}), dry.stderr
    assert f"nothing written; would be: 2 copied, {left_out}" in dry.stderr

    first = run()
    assert first.returncode == 1, first.stderr
    assert f"\n2 copied, {left_out}\n" in first.stderr
    for number, why in ((3, "there is no object"), (4, "has the MD5"), (5, "can't be segments")):
        [line] = [line for line in first.stderr.splitlines() if line.startswith(f"{number} ")]
        assert line.startswith(f"{number} {rows[number - 1]['meta_uuid']}: ")
        assert why in line
    assert "\x1b[31m" not in first.stderr
    objects = imported()
    assert set(objects) == {"imported/uuid-1/beach.png", "imported/ü 日本/Strand 1.png"}

    second = run()
    assert f"\n2 there already, {left_out}\n" in second.stderr
    assert imported() == objects
    rest = run("--after", "5")
    assert (rest.returncode, "no rows" in rest.stderr) == (0, True)

    for old in rows[:2]:
        until(lambda: api.get(f"/meta/image/{old['meta_uuid']}").is_success, f"{old['meta_uuid']} is indexed")  # noqa: B023
        image = api.get(f"/meta/image/{old['meta_uuid']}").json()["data"]
        assert {name: image[name] for name in ("meta_uuid", "hash_code", "file_name")} == {
            name: old[name] for name in ("meta_uuid", "hash_code", "file_name")
        }
        assert api.get(image["file_relative_url"]).content == data
    assert api.get(f"/meta/image/{rows[0]['hash_code']}").json()["data"]["hash_code"] == rows[0]["hash_code"]
    for key in objects:
        live.delete(str(key))


def test_another_database_is_refused(live: Live, bucket: str, tmp_path: Path) -> None:
    """One without the predecessor's table asks for other settings, and has no traceback."""
    result = import_predecessor(live, tmp_path, live.environment["TWINLENS_DATABASE__URL"], bucket)
    assert (result.returncode, "image_meta" in result.stderr) == (ExitCode.ERROR, True), result.stderr
    assert "settings: the predecessor's database: " in result.stderr
    assert "Traceback" not in result.stderr
