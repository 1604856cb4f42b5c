"""Milvus standalone, run without the launcher of its Python package.

That launcher would unpack 250 MB into each data folder, and its child outlives it when it is killed. Here the
server itself is the process, from one unpacked copy.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.harness.stack.health import answers_ok
from tests.harness.stack.install import milvus_folder
from tests.harness.stack.process import Command, ServerProcess, free_port

_PLACEHOLDER = re.compile(r"\{\{\s*(?P<name>\w+)(?:\(\w+\))?(?:\s*:\s*(?P<default>.*?))?\s*\}\}")

_PARTS = ("PROXY", "ROOTCOORD", "QUERYCOORD", "QUERYNODE", "INDEXCOORD", "INDEXNODE", "DATACOORD", "DATANODE")


def milvus_server(folder: Path, logs: Path, port: int) -> ServerProcess:
    """Milvus on 127.0.0.1:`port` with its data, its etcd and its message queue in `folder`."""
    program = milvus_folder()
    configs = folder / "configs"
    health_port_file = folder / "health-port"
    if not configs.exists():
        _configure(program, folder, port)
        health_port_file.write_text(str(free_port()), encoding="utf-8")
    health_port = int(health_port_file.read_text(encoding="utf-8"))
    environment = {
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(health_port),
        "MILVUSCONF": str(configs),
        "LD_LIBRARY_PATH": str(program / "bin"),
        "ETCD_CONFIG_PATH": str(configs / "etcd.yaml"),
        "LOG_LEVEL": "warn",
        # How long after a kill -9 the dead server still counts as there (30 s by default).
        "COMMON_SESSION_TTL": "10",
        **{f"{part}_IP": "127.0.0.1" for part in _PARTS},
    }
    return ServerProcess(
        "milvus",
        # The alias names its pid file, which lies in a folder of the whole machine and would exclude a second server.
        Command([str(program / "bin" / "milvus"), "run", "standalone", "-alias", str(port)], environment, folder),
        log=logs / "milvus.log",
        is_ready=lambda: answers_ok(f"http://127.0.0.1:{health_port}/healthz"),
        # Asked to stop, it waits long for its own parts; what it acknowledged lies in its message queue on disk.
        stop_seconds=2,
    )


def _configure(program: Path, folder: Path, port: int) -> None:
    """Fill in the package's template: our port for the proxy, free ones elsewhere, all folders below `folder`."""
    data = folder / "data"
    given = {
        "proxy_port": str(port),
        "etcd_data_dir": str(data / "etcd"),
        "etcd_log_path": str(folder / "etcd.log"),
        "local_storage_dir": str(data),
        "rocksmq_data_dir": str(data / "rocksmq"),
        "system_log_path": "",
    }

    def value(placeholder: re.Match[str]) -> str:
        name = placeholder["name"]
        if name in given:
            return given[name]
        return str(free_port()) if name.endswith("_port") else placeholder["default"]

    configs = folder / "configs"
    partial = folder / "configs.partial"
    data.mkdir(parents=True, exist_ok=True)
    partial.mkdir(exist_ok=True)
    template = (program / "config.yaml.template").read_text(encoding="utf-8")
    (partial / "milvus.yaml").write_text(_PLACEHOLDER.sub(value, template), encoding="utf-8")
    (partial / "glog.conf").write_bytes((program / "glog.conf").read_bytes())
    (partial / "etcd.yaml").write_text(_etcd(data / "etcd"), encoding="utf-8")
    partial.rename(configs)


def _etcd(data: Path) -> str:
    """The embedded etcd would otherwise listen on 2379 and 2380, so that two of them couldn't run side by side."""
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    return "\n".join(
        (
            "name: default",
            f"data-dir: {data}",
            f"listen-client-urls: {client}",
            f"advertise-client-urls: {client}",
            f"listen-peer-urls: {peer}",
            f"initial-advertise-peer-urls: {peer}",
            f"initial-cluster: default={peer}",
            "",
        )
    )
