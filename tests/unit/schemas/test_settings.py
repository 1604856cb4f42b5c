"""The settings: a file, the environment over it, and clear refusals."""

from __future__ import annotations

from pathlib import Path

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


def test_every_setting_has_a_comment() -> None:
    """Each setting, or the group of lines that it stands in, is explained above it."""
    lines = CONFIG.read_text().splitlines()
    explained = False
    for line in lines:
        text = line.strip()
        if not text or text.endswith(":"):
            explained = text.endswith(":") and explained
        elif text.startswith("#"):
            explained = True
        else:
            assert explained, f"no comment above: {line}"


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


def test_a_file_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names a file means it."""
    monkeypatch.setenv("TWINLENS_CONFIG", "nowhere.yaml")
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml"):
        load_settings()


@pytest.mark.parametrize("secret", ["minioadmin", "changeme", "password"])
def test_a_well_known_secret_is_refused_in_production(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In development it works."""
    monkeypatch.setenv("TWINLENS_OBJECTS__SECRET_KEY", secret)
    assert load_settings().environment == "development"
    monkeypatch.setenv("TWINLENS_ENVIRONMENT", "production")
    with pytest.raises(ConfigurationError, match="well-known") as refused:
        load_settings()
    assert secret not in str(refused.value)


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
