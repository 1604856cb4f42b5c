"""Every command of ``twinlens`` as a person types it: right, wrong, and whether it speaks JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """How a command is tried. ``PICTURE`` stands for a picture's file.

    ``wrong``: what a person may well type wrongly, and ``told`` of it. ``needs``: what it misses where nothing runs;
    None for a command that works without an installation, and for processes, which wait. ``json``: whether it has
    ``--json``. ``codes``: how it may end on an installation with one picture.
    """

    right: tuple[str, ...]
    wrong: tuple[str, ...]
    told: str
    needs: str | None
    json: bool = False
    changes: bool = False
    """Whether it changes so much, or goes on for so long, that it isn't run on the installation of other tests."""
    codes: tuple[int, ...] = (0,)


PICTURE = "PICTURE"
IMPORT = ("--endpoint", "127.0.0.1:9", "--access-key", "a", "--secret-key", "s", "--database")
OBJECTS, CATALOG, VECTORS, BROKER, API = (
    "objects.endpoint",
    "database.url",
    "vectors.uri",
    "kafka.bootstrap_servers",
    "the query service",
)
NO_ROLE = "'nobody' is not one of"

TABLE = {
    "up": Row(("--once",), ("--photos", "nowhere"), "there is no file or folder nowhere", None, changes=True),
    "status": Row((), ("--nonsense",), "No such option", "none of the servers in the settings answers", json=True),
    "add": Row((PICTURE,), ("nowhere",), "there is no file or folder nowhere", OBJECTS, json=True),
    "search": Row((PICTURE,), ("nowhere",), "there is no file or folder nowhere", API, json=True, codes=(0, 1)),
    "publish": Row((PICTURE,), ("nowhere",), "there is no file or folder nowhere", BROKER, json=True),
    "duplicates": Row((), ("--min-score", "101"), "equal to 100", CATALOG, json=True),
    "watch": Row((), ("--nonsense",), "No such option", BROKER, json=True, changes=True),
    "reconcile": Row(("--dry-run",), ("--nonsense",), "No such option", CATALOG, json=True),
    "rejected": Row((), ("--time-limit", "0"), "equal to 1", CATALOG, json=True),
    "retry": Row(("--rejected",), (), "say what to try again", CATALOG, json=True),
    "recount": Row((), ("--time-limit", "0"), "equal to 1", CATALOG, json=True),
    "rebuild-index": Row((), ("--nonsense",), "No such option", VECTORS, json=True, changes=True),
    "forget-bucket": Row(("old", "--dry-run"), (), "bucket", CATALOG, json=True),
    "import-predecessor": Row(
        (*IMPORT, "mysql+asyncmy://u:p@127.0.0.1:9/d"),
        (*IMPORT, "mysql://u:p@h/d"),
        "--database has to begin with mysql+asyncmy://, not mysql://",
        OBJECTS,
        json=True,
        changes=True,
    ),
    "setup": Row((), ("--nonsense",), "No such option", None, json=True, changes=True),
    "worker": Row(("ingest",), ("nobody",), NO_ROLE, None, changes=True),
    "api": Row((), ("--nonsense",), "No such option", None, changes=True),
    "dead-letters list": Row((), ("--since", "yesterday"), "'yesterday' is no time", BROKER, json=True),
    "dead-letters show": Row(("0:0",), ("first",), "first", BROKER, json=True, codes=(2,)),
    "dead-letters replay": Row(("--all",), (), "name the letters by their ids", BROKER, json=True),
    "dead-letters drop": Row(("--all",), ("0:0", "--all"), "name the letters by their ids", BROKER, json=True),
    "grants mysql": Row(("--password", "p"), ("--password", "it's"), "without quotes", None, json=True),
    "grants minio": Row(("--password", "p"), ("--password",), "requires an argument", OBJECTS, json=True, changes=True),
    "grants milvus": Row(("--password", "p"), ("--may", "do"), "'do' is not one of", VECTORS, json=True, changes=True),
    "models list": Row((), ("--nonsense",), "No such option", None, json=True),
    "models show": Row(("sscd",), ("none.yaml",), "none.yaml", None, json=True),
    "models check": Row(("sscd",), ("none.yaml",), "none.yaml", None, json=True),
    "models switch": Row(("sscd_distilled",), (), "say one of MODEL", CATALOG, json=True, changes=True),
    "models export-iv2": Row(("nothing.pth",), ("nothing.pth",), "", None, json=True, changes=True, codes=(2,)),
}
"""By the words that name a command; tests/unit/ops/test_command_table.py says when one is missing."""


def documented_answers() -> dict[str, str]:
    """What docs/commands.md says of each command's JSON."""
    text = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| command | `--json` prints |")
    answers: dict[str, str] = {}
    for line in table.partition("\n\n")[0].splitlines():
        named, described = line.split("|", 3)[1:3] if line.count("|") > 2 else ("", "")
        names = re.findall("`([^`]+)`", named)
        group = names[0].split()[0] if names and " " in names[0] else ""
        for name in names:
            answers[name if " " in name or not group else f"{group} {name}"] = described
    return answers


def undocumented(name: str, printed: str) -> set[str]:
    """The keys that docs/commands.md doesn't name of what a command has printed with ``--json``: a document a line."""
    described = documented_answers()[name]
    documents = [json.loads(line) for line in printed.splitlines()]
    assert documents or "per " in described
    if "answer of" in described or "the spec" in described:
        return set()
    answers = [one for each in documents for one in (each if isinstance(each, list) else [each])]
    return {key for answer in answers for key in answer if f'"{key}"' not in described}
