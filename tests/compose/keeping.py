"""Cases about what stays: over a new start, new secrets, a backup, a loss of all but the bucket, an upgrade."""

from __future__ import annotations

import hashlib
import secrets
import signal
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from schemas.exit_codes import ExitCode
from schemas.migrations import NEWEST
from tests.compose.checks import expect
from tests.compose.client import Client
from tests.compose.images import EARLIER, EARLIER_REVISION, docker, earlier_image
from tests.compose.running import FIRST
from tests.compose.stack import RUNNING, Stack, compose_command
from tests.harness.documented import documented

KILLED: Final = 128 + signal.SIGKILL


def down_and_up(stack: Stack) -> str:
    """Containers and networks go and come, data stays; passwords that were changed in `.env` count."""
    before = Client(stack).counts()
    chosen = ("MYSQL_WRITER_PASSWORD", "MINIO_READER_PASSWORD", "MILVUS_READER_PASSWORD")
    stack.configure(**dict.fromkeys(chosen, "changed-by-the-proof"))
    began = time.monotonic()
    stack.run("stop")
    stopped = time.monotonic() - began
    ended = {service: stack.inspect(service)["State"]["ExitCode"] for service in RUNNING}
    expect(KILLED not in ended.values(), f"some were killed, since they did not end when they were asked to: {ended}")
    stack.run("down")
    took = stack.up()
    client = Client(stack)
    client.wait_found(FIRST[:3])
    expect(client.counts() == before, f"{before} became {client.counts()}")
    for name in chosen:
        expect(stack.secret(name.lower()) == "changed-by-the-proof", f"{name} was not taken")
    return f"stopped after {stopped:.0f} s, up after {took:.0f} s, with {before[0]} objects"


def wrong_secrets(stack: Stack) -> str:
    """A password that can't be taken, and one that the server does not know, end the start and say why."""
    chosen = stack.variables.get("MILVUS_READER_PASSWORD")
    stack.configure(MILVUS_READER_PASSWORD="with@sign:and/slash")
    done = stack.run("up", "--detach", "--wait", check=False)
    said = stack.logs("secrets")
    expect(done.returncode != 0 and "MILVUS_READER_PASSWORD may have" in said, f"{done.stderr}\n{said}")
    stack.configure(MILVUS_READER_PASSWORD=chosen)
    stack.up()
    known = stack.secret("mysql_root_password")
    _write_secret(stack, "mysql_root_password", "wrong-one")
    done = stack.run("run", "--rm", "--no-deps", "setup", check=False)
    said = done.stdout + done.stderr
    expect(done.returncode == ExitCode.CONFIGURATION and "refuses the login" in said, f"{done.returncode} {said}")
    _write_secret(stack, "mysql_root_password", known)
    stack.up()
    return "both refused, with the reason, exit code 78"


def rotated(stack: Stack) -> str:
    """API keys are added and taken away, and root's passwords changed in MySQL and Milvus, as the docs say."""
    old, new = (secrets.token_hex(16) for _ in range(2))
    hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in (("old", old), ("new", new))}
    for kept, refused in ((("old",), new), (("old", "new"), ""), (("new",), old)):
        listed = ", ".join(f'"{name}": "{hashes[name]}"' for name in kept)
        stack.configure(TWINLENS_API__KEY_HASHES=f"{{{listed}}}")
        stack.run("up", "--detach", "--wait")
        accepted = {name: key for name, key in (("old", old), ("new", new)) if key != refused}
        for key in ("", *accepted.values(), *filter(None, [refused])):
            status = Client(stack, key).api.get("/v1/stats").status_code
            expected = httpx.codes.OK if key in accepted.values() else httpx.codes.UNAUTHORIZED
            expect(status == expected, f"with the keys {kept} the service said {status}")
    stack.configure(TWINLENS_API__KEY_HASHES=None)
    with tempfile.TemporaryDirectory(prefix="twinlens-rotated-") as name:
        for server, beginning in (("mysql", "docker compose exec"), ("milvus", "docker compose run")):
            changed = f"changed-{secrets.token_hex(8)}"
            stack.shell(documented("Secrets", beginning).replace("NEW", changed), Path(name))
            expect(stack.secret(f"{server}_root_password") == changed, f"{server}'s password is not in the volume")
    stack.run("down")
    stack.up()
    Client(stack).wait_found(FIRST[:3])
    return "two API keys after one another, root's passwords in MySQL and Milvus"


def restored(stack: Stack) -> str:
    """Backup, everything deleted, restore, by the commands of the docs: nothing differs."""
    client = Client(stack)
    before, counted = client.images(), client.counts()
    with tempfile.TemporaryDirectory(prefix="twinlens-backup-") as name:
        folder = Path(name)
        stack.shell(documented("Backup and restore", "docker compose stop"), folder)
        size = sum(file.stat().st_size for file in (folder / "backup").iterdir())
        stack.remove()
        expect(stack.volumes() == set(), f"{stack.volumes()} are still there")
        began = time.monotonic()
        stack.shell(documented("Backup and restore", "docker compose down --volumes"), folder)
        stack.up()
        took = time.monotonic() - began
    client = Client(stack)
    client.wait_found(FIRST[:-1])
    expect(client.images() == before, f"{before} became {client.images()}")
    expect(client.counts() == counted, f"{counted} became {client.counts()}")
    expect(client.differences() == 0, "reconcile finds differences")
    return f"{counted[0]} objects, {size / 1e6:.0f} MB, back after {took:.0f} s; reconcile finds no difference"


def from_the_bucket_alone(stack: Stack) -> str:
    """Everything but the objects is lost: catalog, vectors, messages and secrets are made anew."""
    before = Client(stack).counts()
    stack.run("down")
    docker("volume", "rm", *(stack.volumes() - {f"{stack.project}_minio"}))
    took = stack.up()
    client = Client(stack)
    searchable = client.wait_found(FIRST[:-1], limit_s=600)
    expect(client.counts() == before, f"{before} became {client.counts()}")
    expect(client.differences() == 0, "reconcile finds differences")
    return f"up after {took:.0f} s, all found {searchable:.0f} s later; reconcile finds no difference"


def upgraded(stack: Stack) -> str:
    """Volumes that an earlier version filled: the new image's migrations, nothing lost, and the way back by the backup.

    The earlier version's code is in this one's image and compose file, since its own could not start on an engine.
    """
    stack.remove()
    earlier_image(stack.variables, compose_command())
    docker("tag", EARLIER, "twinlens")
    stack.run("up", "--detach", "--no-build", "--wait", "kafka", "minio", "mysql", "milvus")
    _make_earlier_users(stack)
    stack.run("up", "--detach", "--no-build", "--wait")
    expect(_revision(stack) == EARLIER_REVISION, f"the earlier version made revision {_revision(stack)}")
    client = Client(stack)
    client.put(FIRST)
    client.wait_found(FIRST)
    before = client.images()
    with tempfile.TemporaryDirectory(prefix="twinlens-backup-") as name:
        stack.shell(documented("Backup and restore", "docker compose stop"), Path(name))
        stack.run("build")
        began = time.monotonic()
        stack.up()
        took = time.monotonic() - began
        expect(_revision(stack) == NEWEST, f"the new version left revision {_revision(stack)}")
        client = Client(stack)
        expect(client.images() == before, f"{before} became {client.images()}")
        client.put([400])
        client.wait_found([*FIRST, 400])
        expect(client.differences() == 0, "reconcile finds differences")
        # The way back: refused without the backup, with a reason, and possible with it.
        docker("tag", EARLIER, "twinlens")
        refused = stack.run("run", "--rm", "--no-deps", "setup", check=False)
        said = refused.stdout + refused.stderr
        expect(refused.returncode == ExitCode.CONFIGURATION and "can't be brought to" in said, said)
        stack.shell(documented("Upgrades and rollback", "docker compose down"), Path(name))
        stack.run("up", "--detach", "--no-build", "--wait")
        client = Client(stack)
        client.wait_found([*FIRST, 400], limit_s=600)
        expect({key: image for key, image in client.images().items() if key in before} == before, "ids have changed")
    stack.run("build")
    stack.up()
    return (
        f"{EARLIER_REVISION} became {NEWEST}, up after {took:.0f} s; back by the backup, and to the new version again"
    )


def _revision(stack: Stack) -> str:
    login = ("-uroot", f"-p{stack.secret('mysql_root_password')}", "twinlens", "--batch", "--skip-column-names")
    return stack.execute("mysql", "mysql", *login, "-e", "SELECT version_num FROM alembic_version").stdout.strip()


def _make_earlier_users(stack: Stack) -> None:
    """The earlier version's administrator made them, with rights of their own on the database."""
    root = ("-uroot", f"-p{stack.secret('mysql_root_password')}")
    for user, rights in (("writer", "ALL"), ("reader", "SELECT")):
        account, password = f"'twinlens_{user}'@'%'", stack.secret(f"mysql_{user}_password")
        made = f"CREATE USER {account} IDENTIFIED BY '{password}'; GRANT {rights} ON twinlens.* TO {account}"
        stack.execute("mysql", "mysql", *root, "-e", made)


def _write_secret(stack: Stack, name: str, value: str) -> None:
    mount = f"{stack.project}_secrets:/secrets"
    command = ("--entrypoint", "sh", "twinlens", "-c", f'printf %s "$0" >/secrets/{name}', value)
    docker("run", "--rm", "--volume", mount, *command)
