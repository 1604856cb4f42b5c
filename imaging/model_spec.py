"""What a model is: a YAML file that says where its network lies and how pictures go in.

The specs that come with Twinlens lie in `imaging/specs`; a path to another file serves as well.
"""

import hashlib
import importlib
import json
from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from imaging.errors import ModelError
from schemas.collection import model_name

_FINGERPRINT_CHARACTERS = 12
"""Hexadecimal ones of SHA-256: what tells some dozen models apart, and fits a column with the id."""

_FROZEN = ConfigDict(frozen=True, extra="forbid")

Channels = tuple[float, float, float]


class PixelSpec(BaseModel):
    """The picture a model wants: RGB, this many pixels, made so from a picture of any shape.

    `squash` scales both sides to fit, whatever the proportions; `crop` scales the shorter side and cuts the
    middle out. With `resize_size` the shorter side is scaled to so many pixels before the crop, by torchvision's
    `Resize` and `CenterCrop`, whose rounding is followed.

    `reducing_gap` is Pillow's: a picture is first reduced by whole factors, quickly, to no less than so many times
    the size that it is then resampled to. The larger, the closer
    to resampling alone, and the more memory a picture takes: 8 is for networks that must agree with another program's.
    """

    model_config = _FROZEN

    width: int = Field(ge=16, le=2048)
    height: int = Field(ge=16, le=2048)
    resize: Literal["squash", "crop"] = "squash"
    resize_size: int | None = Field(default=None, ge=16, le=2048)
    reducing_gap: float = Field(default=2, ge=1, le=8)

    @model_validator(mode="after")
    def _the_crop_lies_within(self) -> Self:
        if self.resize_size is None:
            return self
        if self.resize != "crop" or self.resize_size < max(self.width, self.height):
            raise ValueError("resize_size goes with `resize: crop` and is no less than the crop's sides")
        return self

    @property
    def reduced_size(self) -> tuple[int, int]:
        """Width and height below which a picture must not be reduced before it is resampled."""
        width, height = (self.resize_size or self.width), (self.resize_size or self.height)
        return ceil(self.reducing_gap * width), ceil(self.reducing_gap * height)


class Normalisation(BaseModel):
    """Channel values are divided by 255, then `(value - mean) / std`, in the order R, G, B."""

    model_config = _FROZEN

    mean: Channels
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class InputSpec(BaseModel):
    """The network's one input."""

    model_config = _FROZEN

    name: str
    layout: Literal["NHWC", "NCHW"]
    dtype: Literal["uint8", "float32"]
    normalisation: Normalisation | None = None

    @model_validator(mode="after")
    def _bytes_are_not_normalised(self) -> Self:
        if self.dtype == "uint8" and self.normalisation is not None:
            raise ValueError("an input of type uint8 takes no normalisation")
        return self


class OnnxFile(BaseModel):
    """Where the network lies: an attribute of an installed package that is a path (`module:NAME`), or a file.

    A relative `path` is taken from the folder that the spec lies in.
    """

    model_config = _FROZEN

    package: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    path: Path | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.package is None) == (self.path is None):
            raise ValueError("say either package or path")
        return self


class ModelSpec(BaseModel):
    """One model. `id` names the collection of its vectors; `copy_threshold` and `floor` are scores (0 to 100,
    see docs/models.md): from the one on a picture counts as a copy, below the other it is no more like the query than
    chance would have it.
    """

    model_config = _FROZEN

    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    onnx: OnnxFile
    pixels: PixelSpec
    input: InputSpec
    output: str
    dimension: int = Field(ge=1, le=4096)
    copy_threshold: float = Field(ge=0, le=100)
    floor: float = Field(default=0, ge=0, le=100)
    source: str
    licence: str

    def onnx_path(self) -> Path:
        """The network's file; raises `ModelError` where the package or the file isn't there."""
        path = self.onnx.path if self.onnx.path is not None else _path_in_package(str(self.onnx.package))
        if not path.is_file():
            raise ModelError(f"Model {self.id}: there is no file {path}.")
        return path

    @cached_property
    def name(self) -> str:
        """The id and a fingerprint of all that a vector depends on: the network's file, and how pictures go in.

        Raises `ModelError` where the file isn't there. Reads it once, some 0.1 s for 100 MB.
        """
        described = self.model_dump(mode="json", include={"pixels", "input", "output", "dimension"})
        with self.onnx_path().open("rb") as network:
            digest = hashlib.file_digest(network, "sha256")
        digest.update(json.dumps(described, sort_keys=True).encode())
        return model_name(self.id, digest.hexdigest()[:_FINGERPRINT_CHARACTERS])


def _path_in_package(reference: str) -> Path:
    module_name, _, attribute = reference.partition(":")
    try:
        return Path(getattr(importlib.import_module(module_name), attribute))
    except (ImportError, AttributeError, TypeError) as error:
        raise ModelError(f"The model file {reference} can't be found: {error}.") from error


def built_in_specs() -> list[str]:
    """The ids of the models that come with Twinlens."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _specs().iterdir() if entry.name.endswith(".yaml"))


def load_spec(model: str | Path) -> ModelSpec:
    """The spec with this id, or in this file (anything that ends in .yaml or .yml, or has a slash).

    Raises `ModelError` if there is none or it is wrong, naming the field.
    """
    name = str(model)
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return _read(Path(name))
    if name not in built_in_specs():
        raise ModelError(f"There is no model {name}; there are {', '.join(built_in_specs())}, or name a .yaml file.")
    with resources.as_file(_specs() / f"{name}.yaml") as path:
        return _read(path)


def find_spec(name: str, place: str) -> ModelSpec:
    """The spec of the model with this name, which somebody found at ``place`` (an id or a file), perhaps elsewhere.

    Raises `ModelError` if there is none on this machine, or another model.
    """
    try:
        spec = load_spec(place)
        found = spec.name
    except ModelError as error:
        raise ModelError(
            f"The model {name} is needed here, too, while models are switched: put its spec and its network to the "
            f"same place on this machine. {error}"
        ) from error
    if found != name:
        raise ModelError(
            f"The model {name} is needed here, too, while models are switched, and {place} is another one on this "
            f"machine ({found}): put the same files there."
        )
    return spec


def write_spec(spec: ModelSpec) -> Path:
    """Write a spec beside its network, as `<id>.yaml`, so that both can be moved together; the path."""
    network = spec.onnx_path()
    path = network.with_name(f"{spec.id}.yaml")
    content = spec.model_copy(update={"onnx": OnnxFile(path=Path(network.name))}).model_dump(
        mode="json", exclude_none=True
    )
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _specs() -> Any:
    return resources.files("imaging") / "specs"


def _read(path: Path) -> ModelSpec:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, Mapping):
            raise ModelError(f"The model spec {path} is no mapping.")
        spec = ModelSpec.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise ModelError(f"The model spec {path} can't be used: {error}") from error
    if spec.onnx.path is None or spec.onnx.path.is_absolute():
        return spec
    return spec.model_copy(update={"onnx": OnnxFile(path=path.parent / spec.onnx.path)})
