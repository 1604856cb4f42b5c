"""The Helm chart as Helm renders it: lint, schemas of Kubernetes and of the operators, and who may do what."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.settings import load_settings
from tests.harness.stack.install import KUBERNETES_VERSIONS, helm_program, kubeconform_program, kubernetes_schemas

CHART = Path(__file__).parents[2] / "ops/helm/twinlens"
SETS = ("minimal", "full", "bare")
ROLES = ("ingest", "requests", "index", "query")
KAFKA_PORTS = {9092, 9093}
CREDENTIALS = {
    "database-url": "mysql+asyncmy://user:secret-1@mysql:3306/twinlens",
    "objects-access-key": "user",
    "objects-secret-key": "secret-2",
    "vectors-token": "user:secret-3",
    "kafka-sasl-username": "user",
    "kafka-sasl-password": "secret-4",
}

type Manifest = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm, which knows no version of Kubernetes by itself if Go has built it."""
    return subprocess.run([helm_program(), *arguments], capture_output=True, text=True, check=False, timeout=60)


def values(name: str) -> list[str]:
    """The arguments that take one set of values."""
    return ["-f", str(CHART / "ci" / f"{name}-values.yaml")]


@cache
def rendered(name: str, *more: str, version: str = KUBERNETES_VERSIONS[-1]) -> str:
    """What Helm makes of a set of values."""
    told = helm("template", "try", str(CHART), "-n", "pics", "--kube-version", version, *values(name), *more)
    assert told.returncode == 0, told.stderr
    return told.stdout


@cache
def manifests(name: str, *more: str) -> list[Manifest]:
    """The same, as objects."""
    return [document for document in yaml.load_all(rendered(name, *more), yaml.CSafeLoader) if document]


def of_kind(found: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Those of a kind by their names."""
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def pods(found: list[Manifest]) -> dict[str, Manifest]:
    """The pods' specifications by their roles."""
    workloads = [*of_kind(found, "Deployment").values(), *of_kind(found, "Job").values()]
    templates = [each["spec"]["template"] for each in workloads]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"] for each in templates}


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def secrets_of(pod: Manifest) -> set[str]:
    """The names of the secrets that a pod sees."""
    told = [variable.get("valueFrom", {}).get("secretKeyRef") for each in containers(pod) for variable in each["env"]]
    mounted = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
    return {*mounted, *(reference["name"] for reference in told if reference)}


@pytest.mark.parametrize("name", SETS)
def test_the_chart_is_linted(name: str) -> None:
    """Helm finds nothing to say against it."""
    told = helm("lint", "--strict", str(CHART), "--kube-version", KUBERNETES_VERSIONS[-1], *values(name))
    assert told.returncode == 0, told.stdout + told.stderr
    assert "[WARNING]" not in told.stdout


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("name", SETS)
def test_manifests_follow_the_schemas(name: str, version: str) -> None:
    """Each object is one of Kubernetes' oldest and newest version that the chart is for, or of an operator."""
    schemas = kubernetes_schemas()
    told = subprocess.run(
        [
            kubeconform_program(),
            "-strict",
            "-summary",
            "-schema-location",
            f"{schemas}/{version}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
            "-schema-location",
            f"{schemas}/custom/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json",
        ],
        input=rendered(name, version=version),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Skipped: 0" in told.stdout


def test_a_wrong_manifest_is_refused() -> None:
    """The schemas are closed: a misspelt field is found."""
    wrong = rendered("minimal").replace("readOnlyRootFilesystem", "readOnlyRootFileSystem")
    location = f"{kubernetes_schemas()}/{KUBERNETES_VERSIONS[-1]}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    told = subprocess.run(
        [kubeconform_program(), "-strict", "-schema-location", location],
        input=wrong, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "readOnlyRootFileSystem" in told.stdout


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("image.repository=", "image"),
        ("query.replica=3", "replica"),
        ("config.database.url=mysql://x", "database"),
        ("config.api.prot=7200", "prot"),
        ("config.index.nearest=51", "nearest"),
        ("config.vectors.token=root:secret", "token"),
        ("index.autoscaling.kind=cron", "kind"),
    ],
)
def test_wrong_values_are_refused(wrong: str, words: str) -> None:
    """What is misspelt, missing or does not belong there is named."""
    told = helm("template", str(CHART), "--kube-version", KUBERNETES_VERSIONS[-1], *values("minimal"), "--set", wrong)
    assert told.returncode != 0
    assert words in told.stderr


def test_no_more_index_workers_than_partitions() -> None:
    """Those beyond would have nothing to do."""
    more = ["--set", "index.autoscaling.kind=hpa,index.autoscaling.maxReplicas=9"]
    told = helm("template", str(CHART), "--kube-version", KUBERNETES_VERSIONS[-1], *values("minimal"), *more)
    assert "kafka.partitions is 8" in told.stderr


@pytest.mark.parametrize("name", SETS)
def test_pods_have_few_rights(name: str) -> None:
    """No root, no writing to the image's files, no capabilities, no token of Kubernetes; memory has a limit."""
    found = pods(manifests(name))
    assert set(found) - {"setup"} == set(ROLES)
    for pod in found.values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in containers(pod):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108 - an emptyDir


def test_each_role_sees_its_own_secrets() -> None:
    """The administrator's credentials are setup's alone, and the query service has nothing of Kafka's."""
    found = {role: secrets_of(pod) for role, pod in pods(manifests("full")).items()}
    kafka = {"events-cluster-ca-cert", "twinlens-user"}
    assert found == {
        "setup": {"twinlens-setup", "twinlens-grants", *kafka},
        "ingest": {"twinlens-worker", *kafka},
        "requests": {"twinlens-worker", *kafka},
        "index": {"twinlens-worker", *kafka},
        "query": {"twinlens-query"},
    }


def test_each_role_is_probed_where_it_listens() -> None:
    """Alive by /healthz, ready by /readyz, on the port that the settings name."""
    found = pods(manifests("minimal", "--set", "config.index.health_port=7302,config.api.port=7200"))
    for role in ROLES:
        [container] = found[role]["containers"]
        [port] = container["ports"]
        assert port["containerPort"] == {"ingest": 6301, "requests": 6303, "index": 7302, "query": 7200}[role]
        for probe, path in (("livenessProbe", "/healthz"), ("startupProbe", "/healthz"), ("readinessProbe", "/readyz")):
            assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}


def test_setup_comes_first() -> None:
    """Setup and what it reads are hooks before installs and upgrades; grants follow it, each with its password."""
    found = manifests("full")
    [setup] = of_kind(found, "Job").values()
    config = of_kind(found, "ConfigMap")["try-twinlens-setup"]
    for hook in (setup, config):
        assert hook["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(config["metadata"]["annotations"]["helm.sh/hook-weight"]) < int(
        setup["metadata"]["annotations"]["helm.sh/hook-weight"]
    )
    pod = setup["spec"]["template"]["spec"]
    assert [each["args"] for each in pod["initContainers"]] == [["setup"]]
    told = {each["name"]: each for each in pod["containers"]}
    assert {name: each["args"] for name, each in told.items()} == {
        f"{server}-{user}": ["grants", server, "--may", may]
        for server in ("minio", "milvus")
        for user, may in (("writer", "write"), ("reader", "read"))
    }
    for name, each in told.items():
        [password] = [variable for variable in each["env"] if variable["name"] == "TWINLENS_GRANTS_PASSWORD"]
        assert password["valueFrom"]["secretKeyRef"] == {"name": "twinlens-grants", "key": f"{name}-password"}


@pytest.mark.parametrize("name", ["minimal", "full"])
def test_the_query_service_can_not_reach_kafka(name: str) -> None:
    """Its policy names the ports that it needs; every rule names some, and none is Kafka's."""
    policies = of_kind(manifests(name), "NetworkPolicy")
    assert set(policies) == {f"try-twinlens-{role}" for role in (*ROLES, "setup")}
    ports = {role: ports_of(policies[f"try-twinlens-{role}"]["spec"]) for role in ROLES}
    assert not ports["query"] & KAFKA_PORTS
    assert {3306, 9000, 19530, 53} <= ports["query"]
    for role in ("ingest", "requests", "index"):
        assert ports[role] >= KAFKA_PORTS
    assert {80, 443} <= ports["requests"]
    assert not {80, 443} & ports["ingest"]
    assert ({80, 443} <= ports["query"]) == (name == "full")


def ports_of(policy: Manifest) -> set[int]:
    """Where a policy lets a pod go; a rule without ports would let it go everywhere."""
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule["ports"] for rule in policy["egress"])
    return {port["port"] for rule in policy["egress"] for port in rule["ports"]}


def settings_files(found: list[Manifest]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each role with its settings file, and the variables that it is given."""
    for role, pod in pods(found).items():
        for container in containers(pod):
            variables = {}
            for variable in container["env"]:
                key = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("key", "")
                variables[variable["name"]] = variable.get("value") or CREDENTIALS.get(key, key)
            [mounted] = [volume["configMap"] for volume in pod["volumes"] if "configMap" in volume]
            [item] = mounted["items"]
            yield role, of_kind(found, "ConfigMap")[mounted["name"]]["data"][item["key"]], variables


@pytest.mark.parametrize("name", SETS)
def test_every_process_takes_its_settings(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The settings that each container is given are read without a fault, as in production."""
    for variable in [variable for variable in os.environ if variable.startswith("TWINLENS_")]:
        monkeypatch.delenv(variable)
    seen = set()
    for role, config, variables in settings_files(manifests(name)):
        seen.add(role)
        file = tmp_path / f"{role}.yaml"
        file.write_text(config, encoding="utf-8")
        with monkeypatch.context() as patch:
            for variable, value in {**variables, "TWINLENS_CONFIG": str(file)}.items():
                patch.setenv(variable, value)
            settings = load_settings()
        assert settings.environment == "production"
        assert settings.database.url.get_secret_value() == CREDENTIALS["database-url"]
        if role == "query":
            assert settings.api.host == "0.0.0.0"  # noqa: S104 - within its pod
            assert "try-twinlens-query.pics.svc" in settings.api.allowed_hosts
            public = {"minimal": "", "bare": "http://pictures.example.org"}
            assert settings.api.public_url == public.get(name, "https://pictures.example.org/pictures")
    assert set(ROLES) <= seen


def test_scaling_follows_the_lag() -> None:
    """KEDA is told the group and the topic of the index workers, and Deployments that are scaled name no number."""
    found = manifests("full", "--set", "config.kafka.topic_prefix=mine.")
    [scaled] = of_kind(found, "ScaledObject").values()
    [trigger] = scaled["spec"]["triggers"]
    assert (trigger["metadata"]["consumerGroup"], trigger["metadata"]["topic"]) == ("mine.index", "mine.contents")
    assert scaled["spec"]["scaleTargetRef"]["name"] in of_kind(found, "Deployment")
    numbered = {name for name, each in of_kind(found, "Deployment").items() if "replicas" in each["spec"]}
    assert numbered == {"try-twinlens-ingest", "try-twinlens-requests"}


def test_monitors_give_the_jobs_their_names() -> None:
    """The alert rules and the dashboard count on jobs that begin with "twinlens"; the rules come along unchanged."""
    found = manifests("full")
    monitors = of_kind(found, "PodMonitor")
    jobs = {monitor["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["replacement"] for monitor in monitors.values()}
    assert jobs == {f"twinlens-{role}" for role in ROLES}
    ports = {each["ports"][0]["name"] for pod in pods(found).values() for each in pod["containers"] if "ports" in each}
    assert {monitor["spec"]["podMetricsEndpoints"][0]["port"] for monitor in monitors.values()} == ports
    [rules] = of_kind(found, "PrometheusRule").values()
    assert rules["spec"] == yaml.safe_load((CHART / "files/twinlens.rules.yml").read_text(encoding="utf-8"))
