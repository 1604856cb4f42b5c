"""Stand-ins for the images that docker-compose.yaml and the Dockerfile name, where none can be pulled.

Each has the name and tag of the official image (no digest: a local image has none), its entry point, the variables and
the health check's command that the compose file uses, and a real server in it:

- ``python``: this machine's own Python on Debian bookworm, in /usr/local as in the official image;
- ``golang``: a `go` that knows the programs which this machine has built (tests/harness/stack/install.py);
- ``alpine``: busybox alone, whose commands those of Alpine are;
- ``apache/kafka``: Kafka's jars from Maven. Entry point and variables by Kafka's own wrapper class, user appuser with
  id 1000 (github.com/apache/kafka, docker/jvm/Dockerfile);
- ``mysql``: Debian's newest MySQL. Variables, folders, user 999 as in github.com/docker-library/mysql,
  9.7/Dockerfile.oracle and 9.7/docker-entrypoint.sh;
- ``milvusdb/milvus``: Milvus 2.3.5, the newest that there is without an image. Files of root with mode 0774 and /tini
  as in github.com/milvus-io/milvus, build/docker/milvus/ubuntu22.04/Dockerfile;
- ``milvusdb/etcd``: Debian's newest etcd. Folder /bitnami/etcd for root's group, user 1001 as in Bitnami's images;
- ``prom/prometheus``: Debian's newest Prometheus beside busybox (github.com/prometheus/prometheus, Dockerfile).

Grafana, Attu and the Kafka UI have none: no registry that is reached here has them.

What this machine needs to reach a package registry (its certificates, pip's settings) goes into the stand-ins of base
images, and nowhere else.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.harness.stack import install
from tests.harness.stack.cache import made_once

ROOT: Final = Path(__file__).resolve().parents[2]
_STANDINS: Final = Path(__file__).parent / "standins"
_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
EARLIER: Final = "twinlens-proof/earlier:latest"
EARLIER_REVISION: Final = "0009"
_EARLIER_COMMIT: Final = "1b5246e636"
"""The last before the migrations 0010 and 0011."""
_EARLIER_START: Final = "15c8241be5"
"""Of a later commit is the container's start, with what that version can do and today's secrets."""
_DEBIAN = "twinlens-proof/debian:bookworm"
_SID = "twinlens-proof/debian:sid"
_SID_MYSQL = "twinlens-proof/debian:sid-mysql"
"""A root of its own, in which no other package has taken the ids that the image has."""
_PACKAGES = (
    "ca-certificates,netbase,tzdata,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,zlib1g,libreadline8,libncursesw6,"
    "libuuid1,libexpat1,libgdbm6,busybox-static,tini,curl,etcd-client,openjdk-17-jre-headless,libgomp1,libstdc++6,libaio1"
)
_NEWEST = "etcd-server,etcd-client,prometheus,busybox-static"


def images_named() -> dict[str, str]:
    """The image that each ``…_IMAGE`` variable replaces, as the compose file and the Dockerfile name it."""
    compose = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return {
        **dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", dockerfile, re.MULTILINE)),
        **dict(re.findall(r"\$\{(\w+_IMAGE):-([^}\s]+)\}", compose)),
    }


def provide_images() -> dict[str, str]:
    """Pull what can be pulled and make stand-ins for the others; returns the variables that name the stand-ins."""
    variables = {}
    for variable, image in images_named().items():
        if variable not in _STANDINS_FOR or _is_there(image) or _pulled(image):
            continue
        tag = image.partition("@")[0]
        if not _is_there(tag):
            _STANDINS_FOR[variable](tag)
        variables[variable] = tag
    return variables


_SCRIPTS: Final = ("make-secrets", "healthy", "milvus")


def earlier_image(variables: Mapping[str, str], compose: Sequence[str]) -> None:
    """Build Twinlens as it was at an earlier revision of the catalog, with the Dockerfile and the scripts of now.

    ``variables``: those that name base images; ``compose``: how Compose is called. Its `setup` made no users of MySQL.
    Needs the repository's history.
    """
    if _is_there(EARLIER):
        return
    with tempfile.TemporaryDirectory(prefix="twinlens-earlier-") as name:
        archive = subprocess.run(["git", "archive", _EARLIER_COMMIT], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-C", name, "-x"], input=archive, check=True)
        for file in ("Dockerfile", ".dockerignore", *(f"ops/compose/{script}.sh" for script in _SCRIPTS)):
            shutil.copy(ROOT / file, Path(name) / file)
        shown = ["git", "show", f"{_EARLIER_START}:ops/compose/twinlens.sh"]
        start = subprocess.run(shown, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        without = start.replace("in mysql minio milvus", "in minio milvus")
        (Path(name) / "ops" / "compose" / "twinlens.sh").write_text(without, encoding="utf-8")
        base = {key: value for key, value in variables.items() if key == "PYTHON_IMAGE"}
        build = {"context": name, "target": "twinlens", "args": base}
        project = Path(name) / "earlier.json"
        project.write_text(json.dumps({"services": {"earlier": {"image": EARLIER, "build": build}}}), encoding="utf-8")
        # Compose has the builder that the Dockerfile needs within itself; docker's own is another plugin.
        _told(*compose, "--file", str(project), "build", "--quiet")


def docker(*arguments: str, check: bool = True, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    """Run the docker command; its output, as text."""
    return _told("docker", *arguments, check=check, stdin=stdin)


def _told(*command: str, check: bool = True, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    result = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    return result


def _is_there(image: str) -> bool:
    return docker("image", "inspect", image, check=False).returncode == 0


def _pulled(image: str) -> bool:
    return docker("pull", "--quiet", image, check=False).returncode == 0


def _bootstrapped(image: str, suite: str, packages: str) -> None:
    """Import a small Debian, with this machine's certificates."""
    if _is_there(image):
        return

    def make(folder: Path) -> None:
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(folder / "root")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder / "root" / "var" / "cache" / "apt", ignore_errors=True)
        shutil.rmtree(folder / "root" / "var" / "lib" / "apt" / "lists", ignore_errors=True)

    root = made_once(f"debian-{image.rpartition(':')[2]}-for-compose", make) / "root"
    (root / "etc" / "ssl" / "certs").mkdir(parents=True, exist_ok=True)
    shutil.copy(_CERTIFICATES, root / "etc" / "ssl" / "certs")
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as archive:
        subprocess.run(["docker", "import", "-", image], stdin=archive.stdout, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _context(dockerfile: str, tag: str) -> Iterator[Path]:
    """A folder for what an image is built from; it is built when the block is left."""
    with tempfile.TemporaryDirectory(prefix="twinlens-standin-") as name:
        folder = Path(name)
        (folder / "Dockerfile").write_text(dockerfile, encoding="utf-8")
        yield folder
        docker("build", "--quiet", "--tag", tag, name)


def _python(tag: str) -> None:
    _bootstrapped(_DEBIAN, "bookworm", _PACKAGES)
    version = f"python3.{sys.version_info.minor}"
    prefix = Path(sys.base_prefix)
    dockerfile = (
        f"FROM {_DEBIAN}\nCOPY usr /usr/\nCOPY pip.conf /etc/pip.conf\nENV PATH=/usr/local/bin:$PATH LANG=C.UTF-8\n"
        f"RUN ldconfig && cd /usr/local/bin && ln -sf {version} python3 && ln -sf {version} python\n"
    )
    with _context(dockerfile, tag) as folder:
        local = folder / "usr" / "local"
        shutil.copytree(
            prefix / "lib" / version,
            local / "lib" / version,
            ignore=shutil.ignore_patterns("test", "site-packages", "__pycache__", "*.a", "config-*"),
        )
        (local / "lib" / version / "site-packages").mkdir()
        (local / "bin").mkdir()
        shutil.copy(prefix / "bin" / version, local / "bin")
        for library in (prefix / "lib").glob("libpython3*.so*"):
            shutil.copy(library, local / "lib", follow_symlinks=False)
        (folder / "pip.conf").write_text(_pip_settings(), encoding="utf-8")


def _pip_settings() -> str:
    """Where this machine's pip finds packages, without its local folders."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    known = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", listed, re.MULTILINE))
    kept = {name: known[name] for name in ("index-url", "extra-index-url", "trusted-host") if name in known}
    lines = {**kept, "cert": str(_CERTIFICATES), "timeout": "180"}
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())


def _golang(tag: str) -> None:
    _bootstrapped(_DEBIAN, "bookworm", _PACKAGES)
    dockerfile = (
        f"FROM {_DEBIAN}\nENV GOPATH=/go PATH=/go/bin:/usr/local/go/bin:$PATH\nRUN mkdir -p /go/bin\n"
        "COPY go.sh /usr/local/go/bin/go\nCOPY built /built/\n"
    )
    with _context(dockerfile, tag) as folder:
        shutil.copy(_STANDINS / "go.sh", folder)
        (folder / "built" / install.MINIO_VERSION).mkdir(parents=True)
        shutil.copy(install.minio_program(), folder / "built" / install.MINIO_VERSION)


def _alpine(tag: str) -> None:
    _bootstrapped(_DEBIAN, "bookworm", _PACKAGES)
    docker(
        "build", "--quiet", "--tag", tag, "-",
        stdin=(
            f"FROM {_DEBIAN} AS debian\nFROM scratch\nCOPY --from=debian /bin/busybox /bin/busybox\n"
            "COPY --from=debian /etc/passwd /etc/group /etc/\nCOPY --from=debian /tmp /tmp\n"
            'RUN ["/bin/busybox", "--install", "-s", "/bin"]\nCMD ["/bin/sh"]\n'
        ).encode(),
    )  # fmt: skip


def _kafka(tag: str) -> None:
    _bootstrapped(_DEBIAN, "bookworm", _PACKAGES)
    dockerfile = (
        f"FROM {_DEBIAN}\nRUN useradd --create-home --uid 1000 appuser\n"
        "COPY libs /opt/kafka/libs/\nCOPY docker /etc/kafka/docker/\n"
        "RUN mkdir -p /opt/kafka/config /var/lib/kafka/data /etc/kafka/secrets /mnt/shared/config"
        " && chown -R appuser:appuser /opt/kafka/config /mnt/shared/config"
        " && chown -R appuser:root /var/lib/kafka /etc/kafka && chmod -R ug+w /etc/kafka /var/lib/kafka\n"
        'USER appuser\nVOLUME ["/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"]\n'
        'CMD ["/etc/kafka/docker/run"]\n'
    )
    with _context(dockerfile, tag) as folder:
        shutil.copytree(install.kafka_libs(), folder / "libs")
        (folder / "docker").mkdir()
        shutil.copy(_STANDINS / "kafka-run.sh", folder / "docker" / "run")
        for name in ("log4j2.yaml", "tools-log4j2.yaml"):
            shutil.copy(_STANDINS / "log4j2.yaml", folder / "docker" / name)
        (folder / "docker" / "server.properties").touch()


def _mysql(tag: str) -> None:
    _bootstrapped(_SID_MYSQL, "sid", "mysql-server-core,mysql-client-core")
    dockerfile = (
        f"FROM {_SID_MYSQL}\nRUN groupadd --system --gid 999 mysql"
        " && useradd --system --uid 999 --gid 999 --home-dir /var/lib/mysql --no-create-home mysql"
        " && mkdir -p /var/lib/mysql /var/lib/mysql-files /var/run/mysqld"
        " && chown mysql:mysql /var/lib/mysql /var/lib/mysql-files /var/run/mysqld"
        " && chmod 1777 /var/lib/mysql /var/run/mysqld\n"
        "COPY mysql-entrypoint.sh /usr/local/bin/docker-entrypoint.sh\nVOLUME /var/lib/mysql\n"
        'ENTRYPOINT ["docker-entrypoint.sh"]\nCMD ["mysqld"]\n'
    )
    with _context(dockerfile, tag) as folder:
        shutil.copy(_STANDINS / "mysql-entrypoint.sh", folder)


def _etcd(tag: str) -> None:
    _bootstrapped(_SID, "sid", _NEWEST)
    dockerfile = (
        f"FROM {_SID}\nRUN install -d -m 0775 /bitnami/etcd /bitnami/etcd/data\n"
        "COPY etcd.sh /opt/bitnami/scripts/etcd/entrypoint.sh\nUSER 1001\n"
        'ENTRYPOINT ["/opt/bitnami/scripts/etcd/entrypoint.sh"]\nCMD ["etcd"]\n'
    )
    with _context(dockerfile, tag) as folder:
        shutil.copy(_STANDINS / "etcd.sh", folder)


def _prometheus(tag: str) -> None:
    _bootstrapped(_SID, "sid", _NEWEST)
    docker(
        "build", "--quiet", "--tag", tag, "-",
        stdin=(
            f"FROM {_SID}\nRUN ln -s busybox /bin/wget"
            " && install -d -o 65534 -g 65534 -m 0775 /prometheus /etc/prometheus\n"
            'WORKDIR /prometheus\nUSER nobody\nVOLUME ["/prometheus"]\nENTRYPOINT ["/bin/prometheus"]\n'
            'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]\n'
        ).encode(),
    )  # fmt: skip


def _milvus(tag: str) -> None:
    _bootstrapped(_DEBIAN, "bookworm", _PACKAGES)
    dockerfile = (
        f"FROM {_DEBIAN}\nRUN cp /usr/bin/tini /tini\nCOPY milvus /milvus/\n"
        "RUN chown -R root:root /milvus && find /milvus -exec chmod 0774 {} +\n"
        "ENV PATH=/milvus/bin:$PATH LD_LIBRARY_PATH=/milvus/lib:/usr/lib\n"
        'ENTRYPOINT ["/tini", "--"]\nWORKDIR /milvus/\n'
    )
    with _context(dockerfile, tag) as folder:
        server = install.milvus_folder()
        milvus = folder / "milvus"
        for name in ("bin", "lib", "configs"):
            (milvus / name).mkdir(parents=True)
        for file in (server / "bin").iterdir():
            program = file.name == "milvus"
            shutil.copy(file, milvus / ("bin/milvus-2.3.5" if program else f"lib/{file.name}"))
        shutil.copy(_STANDINS / "milvus.sh", milvus / "bin" / "milvus")
        shutil.copy(server / "glog.conf", milvus / "configs")
        (milvus / "configs" / "milvus.yaml").write_text(_milvus_settings(server), encoding="utf-8")


def _milvus_settings(server: Path) -> str:
    """The package's template with its defaults; as in the image, etcd is another server."""
    given = {"local_storage_dir": "/var/lib/milvus/data", "rocksmq_data_dir": "/var/lib/milvus/rdb_data"}

    def value(found: re.Match[str]) -> str:
        return given.get(found["name"], found["default"] or "")

    template = (server / "config.yaml.template").read_text(encoding="utf-8")
    placeholder = r"\{\{\s*(?P<name>\w+)(?:\(\w+\))?(?:\s*:\s*(?P<default>.*?))?\s*\}\}"
    return re.sub(placeholder, value, template).replace("embed: true", "embed: false")


_STANDINS_FOR: Final[dict[str, Callable[[str], None]]] = {
    "PYTHON_IMAGE": _python,
    "GO_IMAGE": _golang,
    "ALPINE_IMAGE": _alpine,
    "KAFKA_IMAGE": _kafka,
    "MYSQL_IMAGE": _mysql,
    "ETCD_IMAGE": _etcd,
    "MILVUS_IMAGE": _milvus,
    "PROMETHEUS_IMAGE": _prometheus,
}
