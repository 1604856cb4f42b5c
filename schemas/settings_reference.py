"""Writes what says again what ``schemas/settings.py`` says of each setting, from there: ``make settings``.

That is config.yaml as a whole; the tables of docs/configuration.md; the variables that docker-compose.yaml passes on;
and what the Helm chart takes below ``config``. A test fails while one of them is stale.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import yaml
from pydantic import SecretStr

from schemas.settings import PREFIX, Section, Settings

ROOT: Final = Path(__file__).parents[1]
COLUMNS: Final = 120
HEADER: Final = (
    "Every setting of Twinlens with its default, written by `make settings` from schemas/settings.py. A file of your "
    "own needs only what it changes. An environment variable overrides a line of the file: "
    f"{PREFIX}<SECTION>__<KEY>, e.g. {PREFIX}KAFKA__BOOTSTRAP_SERVERS=kafka:9092. Lists and maps are JSON there. "
    "Unknown keys are refused, in the file and in the environment. Sizes are in bytes, and names that end in _s are in "
    "seconds."
)
KEYS: Final = frozenset({"objects.access_key"})
"""What is no secret by itself, but comes and goes with one."""
FOLDER_STORE: Final = frozenset({"objects.backend", "objects.folder"})
"""What only the embedded stack has another of."""
MAX_PORT: Final = 65_535

_LINK: Final = re.compile(r"\[(?P<text>[^]]+)\]\((?P<target>[^)]+)\)")
_TABLE: Final = re.compile(r"(?<=<!-- settings: )(?P<section>\w+) -->\n.*?(?=<!-- end -->)", re.DOTALL)
_VARIABLES: Final = re.compile(r"(?P<before># begin of `make settings`\n).*?(?=  # end of `make settings`)", re.DOTALL)


class Setting(NamedTuple):
    """One setting: where it is, its default, and what its JSON schema says: description, bounds, values."""

    section: str
    key: str
    default: Any
    schema: Mapping[str, Any]
    is_secret: bool

    @property
    def name(self) -> str:
        """With dots, as messages and the documentation name it."""
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name.replace(".", "__").upper()

    @property
    def meaning(self) -> str:
        """The description, as Markdown with links as from docs/; with values and bounds, where it doesn't name them."""
        described: str = self.schema["description"]
        values = [f"`{value}`" for value in self.schema.get("enum", ())]
        if not all(value in described for value in values):
            described += f" One of {', '.join(values)}."
        least, most = self.schema.get("minimum", 0), self.schema.get("maximum")
        if most is not None and most != MAX_PORT:
            described += f" From {least:,} to {most:,}."
        elif least:
            described += f" At least {least:,}."
        return described


def sections() -> Iterator[tuple[str, str, list[Setting]]]:
    """The name, the docstring and the settings of each section, in the order of the code; general ones have no name."""
    whole = Settings.model_json_schema()
    models = {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    general = [name for name in Settings.model_fields if name not in models]
    yield "", "", [_setting("", name, Settings, whole["properties"][name]) for name in general]
    for section, model in models.items():
        described = whole["$defs"][model.__name__]
        keys = described["properties"]
        yield section, described["description"], [_setting(section, key, model, keys[key]) for key in keys]


def _setting(section: str, key: str, model: type[Section | Settings], schema: Mapping[str, Any]) -> Setting:
    field = model.model_fields[key]
    is_secret = SecretStr in (field.annotation, *get_args(field.annotation))
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return Setting(section, key, default, schema, is_secret)


def config_yaml(_: str = "") -> str:
    """The whole file of settings."""
    parts = [_comment(HEADER)]
    for section, described, settings in sections():
        indent = "  " if section else ""
        lines = [*([_comment(described), f"{section}:"] if section else [])]
        for one in settings:
            size = _size(one)
            lines += [
                _comment(_plain(one.meaning), indent),
                f"{indent}{one.key}: {_yaml(one.default)}{f'  # {size}' if size else ''}",
            ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def with_tables(text: str) -> str:
    """The text of docs/configuration.md with the table of each section anew. Raises KeyError for an unknown section."""
    tables = {section or "general": _table(settings) for section, _, settings in sections()}
    found = _TABLE.sub(lambda match: f"{match['section']} -->\n\n{tables.pop(match['section'])}\n\n", text)
    if tables:
        raise KeyError(
            f"docs/configuration.md has no place for {', '.join(tables)}: <!-- settings: NAME --> <!-- end -->"
        )
    return found


def _table(settings: list[Setting]) -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for one in settings:
        size = _size(one)
        default = f"{_shown(one.default)} ({size})" if size else _shown(one.default)
        rows.append(f"| `{one.name}` | {default} | {one.meaning.replace('configuration.md#', '#')} |")
    return "\n".join(rows)


def with_variables(text: str) -> str:
    """The text of docker-compose.yaml, which passes on all but secrets and what it says itself."""
    by_itself = set(re.findall(rf"^  ({PREFIX}\w+): \S", text, re.MULTILINE))
    passed = [
        f"  {one.variable}:\n"
        for _, _, settings in sections()
        for one in settings
        if not (one.is_secret or one.name in KEYS | FOLDER_STORE or one.variable in by_itself)
    ]
    return _VARIABLES.sub(lambda match: match["before"] + "".join(passed), text)


def with_schema(text: str) -> str:
    """The text of the chart's values.schema.json: what ``config`` takes; secrets come by another way."""
    values = json.loads(text)
    config = values["properties"]["config"]
    config["additionalProperties"] = False
    config["properties"] = {}
    for section, _, settings in sections():
        keys = {one.key: _bare(one.schema) for one in settings if not (one.is_secret or one.name in KEYS)}
        if section:
            config["properties"][section] = {"type": "object", "additionalProperties": False, "properties": keys}
        else:
            config["properties"] |= keys
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _bare(schema: Any) -> Any:
    """The schema without what people read. In a container no port is chosen at will."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    bare = {
        key: _bare(value) for key, value in schema.items() if key not in ("default", "description", "title", "format")
    }
    return bare | {"minimum": 1} if bare.get("maximum") == MAX_PORT else bare


def _size(setting: Setting) -> str:
    if not isinstance(setting.default, int) or setting.default % 2**20 or not setting.default:
        return ""
    mebibytes = setting.default >> 20
    return f"{mebibytes} MiB" if mebibytes % 1024 else f"{mebibytes >> 10} GiB"


def _shown(default: Any) -> str:
    """A default in the tables."""
    if default is None or default == "":
        return "none" if default is None else "empty"
    return f"`{default if isinstance(default, str | Path) else json.dumps(default)}`"


def _yaml(default: Any) -> str:
    """A default in the file: JSON, which is YAML, but for texts that mean themselves without quotes."""
    text = str(default) if isinstance(default, Path) else default
    return text if isinstance(text, str) and yaml.safe_load(text) == text else json.dumps(text)


def _plain(markdown: str) -> str:
    """Without marks: of code those that hold words apart, of links the file."""
    return re.sub(r"`(\S*?)`", r"\1", _LINK.sub(_link_as_text, markdown))


def _link_as_text(match: re.Match[str]) -> str:
    text, file = match["text"], match["target"].partition("#")[0]
    if "://" in file:
        return text
    return f"docs/{file}" if text == file else f"{text} (docs/{file})"


def _comment(text: str, indent: str = "") -> str:
    start = f"{indent}# "
    return textwrap.fill(
        text, COLUMNS, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
    )


WRITTEN: Final[Mapping[str, Callable[[str], str]]] = {
    "config.yaml": config_yaml,
    "docs/configuration.md": with_tables,
    "docker-compose.yaml": with_variables,
    "ops/helm/twinlens/values.schema.json": with_schema,
}
"""What makes each file anew of what it holds."""


def main() -> None:
    """Write them all."""
    for name, written in WRITTEN.items():
        path = ROOT / name
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
