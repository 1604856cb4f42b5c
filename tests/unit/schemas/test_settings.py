"""The settings: a file, the environment over it, and clear refusals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.errors import ConfigurationError
from schemas.settings import Settings, load_settings, setting_names

CONFIG = Path(__file__).parents[3] / "config.yaml"


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file in the working folder and no variable of the person who runs the tests."""
    import os

    for variable in list(os.environ):
        if variable.startswith("TWINLENS_") and not variable.startswith("TWINLENS_TEST_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def _write(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    monkeypatch.setenv("TWINLENS_CONFIG", str(path))


def test_the_file_says_what_the_defaults_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """config.yaml can be read as the reference: each value in it is the one that holds without it."""
    without = load_settings()
    monkeypatch.setenv("TWINLENS_CONFIG", str(CONFIG))
    assert load_settings() == without


def test_the_file_names_every_setting() -> None:
    """No setting is missing in config.yaml, and none is there that does not exist."""
    named = set()
    for section, value in yaml.safe_load(CONFIG.read_text()).items():
        named |= {f"{section}.{key}" for key in value} if isinstance(value, dict) else {section}
    assert named == set(setting_names())


def test_a_file_of_ones_own_overrides_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it leaves out keeps its default."""
    _write("kafka: {partitions: 3}\n", monkeypatch, tmp_path)
    settings = load_settings()
    assert settings.kafka.partitions == 3
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"


def test_the_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable changes one setting and leaves its section alone; lists are JSON."""
    _write("kafka: {partitions: 3, topic_prefix: mine.}\n", monkeypatch, tmp_path)
    monkeypatch.setenv("TWINLENS_KAFKA__PARTITIONS", "5")
    monkeypatch.setenv("TWINLENS_OBJECTS__BUCKETS", '["one", "two"]')
    monkeypatch.setenv("TWINLENS_ENVIRONMENT", "production")
    monkeypatch.setenv("TWINLENS_OBJECTS__SECRET_KEY", "a secret of one's own")
    settings = load_settings()
    assert (settings.kafka.partitions, settings.kafka.topic_prefix) == (5, "mine.")
    assert settings.objects.buckets == ("one", "two")
    assert settings.kafka.topics.contents == "mine.contents"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("kafka: {partition: 3}", "kafka.partition"),
        ("kafkaa: {}", "kafkaa"),
        ("kafka: {partitions: many}", "kafka.partitions"),
        ("kafka: {partitions: 0}", "kafka.partitions"),
        ("kafka: {security_protocol: SASL_SSL}", "sasl_username"),
        ("objects: {buckets: []}", "objects.buckets"),
        ("objects: {backend: ftp}", "objects.backend"),
        ("reconcile: {max_removed_share: 2}", "reconcile.max_removed_share"),
        ("api: {public_url: 'example.org'}", "api.public_url"),
    ],
)
def test_a_wrong_file_is_refused_by_name(
    text: str, named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error names the setting that is wrong."""
    _write(text, monkeypatch, tmp_path)
    with pytest.raises(ConfigurationError, match=named):
        load_settings()


@pytest.mark.parametrize(
    "variable",
    ["TWINLENS_KAFKA__PARTITION", "TWINLENS_KAFKAA__PARTITIONS", "TWINLENS_API__PORT__X", "twinlens_api__prot"],
)
def test_a_misspelt_variable_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error must not silently do nothing."""
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigurationError, match=variable):
        load_settings()


@pytest.mark.parametrize("variable", ["TWINLENS_KAFKA_BOOTSTRAP_SERVERS", "twinlens_database_url"])
def test_a_variable_with_one_underscore_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The likeliest slip; the error says what was meant."""
    monkeypatch.setenv(variable, "x")
    with pytest.raises(ConfigurationError, match=rf"{variable} names no setting; you may mean TWINLENS_\w+__\w+$"):
        load_settings()


def test_variables_of_others_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes names services by such variables, and our commands have some that are no settings."""
    monkeypatch.setenv("TWINLENS_API_PORT", "tcp://10.0.0.1:6200")
    monkeypatch.setenv("TWINLENS_API_KEY", "a key")
    assert load_settings().api.port == 6200


def test_a_file_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names a file means it."""
    monkeypatch.setenv("TWINLENS_CONFIG", "nowhere.yaml")
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml"):
        load_settings()


OWN_SECRETS: Mapping[str, Any] = {
    "objects": {"secret_key": "our own"},
    "database": {"url": "mysql+asyncmy://root:our%20own@db/twinlens"},
    "vectors": {"token": "root:our own"},
    "kafka": {"security_protocol": "SASL_SSL", "sasl_username": "twinlens", "sasl_password": "our own"},
}


@pytest.mark.parametrize(
    ("named", "well_known"),
    [
        (r"objects\.secret_key", {"objects": {"secret_key": "minioadmin"}}),
        (r"database\.url", {"database": {"url": "mysql+asyncmy://root:root@db/twinlens"}}),
        (r"database\.url", {"database": {"url": "mysql+asyncmy://u:%63hangeme@db/twinlens"}}),
        (r"vectors\.token", {"vectors": {"token": "root:Milvus"}}),
        (r"kafka\.sasl_password", {"kafka": {**OWN_SECRETS["kafka"], "sasl_password": "changeme"}}),
    ],
)
def test_well_known_secrets_are_refused_in_production(named: str, well_known: Mapping[str, Any]) -> None:
    """Those of every server; the error says which, and not the secret. In development they work."""
    given = {**OWN_SECRETS, **well_known}
    assert load_settings(**given).environment == "development"
    assert load_settings(environment="production", **OWN_SECRETS).environment == "production"
    with pytest.raises(ConfigurationError, match=f"{named}: a well-known secret") as refused:
        load_settings(environment="production", **given)
    assert not any(secret in str(refused.value) for secret in ("minioadmin", "root", "changeme", "Milvus"))


def test_a_server_that_is_not_in_use_needs_no_secret() -> None:
    """Whoever keeps pictures in a folder has no key to an object store."""
    settings = load_settings(environment="production", objects={"backend": "folder"})
    assert settings.objects.secret_key.get_secret_value() == "minioadmin"


def test_requests_are_remembered_for_longer_than_kafka_keeps_them() -> None:
    """Their messages, or dead letters, may be delivered again until then: four times the retention and a week."""
    assert load_settings(kafka={"retention_days": 7}, requests={"kept_days": 35}).requests.kept_days == 35
    with pytest.raises(ConfigurationError, match=r"requests\.kept_days is 34, but must be at least 35"):
        load_settings(kafka={"retention_days": 7}, requests={"kept_days": 34})


@pytest.mark.parametrize("glob", ["[z-a]", "!", "a\\"])
def test_a_glob_that_is_none_is_refused(glob: str) -> None:
    """The text names the setting and the glob."""
    with pytest.raises(ConfigurationError, match=r"objects\.exclude.*is no glob"):
        load_settings(objects={"exclude": [glob]})


def test_somebody_has_to_notice_changes() -> None:
    """Without notifications and without the patrol nothing would ever be found."""
    with pytest.raises(ConfigurationError, match="nobody would notice"):
        load_settings(objects={"notifications": "none"}, patrol={"rate": 0})


def test_secrets_do_not_show() -> None:
    """Settings can be logged."""
    settings = Settings.model_validate({"database": {"url": "mysql+asyncmy://u:hidden@db/twinlens"}})
    assert "hidden" not in repr(settings)
    assert "minioadmin" not in repr(settings.objects.secret_key)


def test_other_limits_have_another_fingerprint() -> None:
    """A picture that was rejected under other limits is looked at again."""
    one, two = load_settings(), load_settings(limits={"max_pixels": 5})
    assert one.limits.fingerprint != two.limits.fingerprint


def test_another_decoder_has_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older decoder refused is looked at again once `DECODER_VERSION` has risen."""
    before = load_settings().limits.fingerprint
    monkeypatch.setattr("schemas.settings.DECODER_VERSION", 999)
    assert load_settings().limits.fingerprint != before
