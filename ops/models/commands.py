"""`twinlens models list | show | check | export-iv2`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.progress import track
from rich.table import Table

from imaging.decoding import Pixels, decode
from imaging.errors import ModelError, UndecodableImage
from imaging.limits import DecodeLimits
from imaging.model_spec import ModelSpec, OnnxFile, built_in_specs, load_spec, write_spec
from ops.pictures import find_sources
from ops.terminal import plain, stderr, stdout
from schemas.settings import load_settings

app = typer.Typer(help="Look at models, try them, make them.", no_args_is_help=True)

MOST_PHOTOS = 400

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or its spec file.")]


@app.command("list")
def list_models() -> None:
    """List the models that come along and the one that the settings name."""
    from ops.cli import friendly_errors

    with friendly_errors():
        used = load_settings().model.spec
        names = list(dict.fromkeys([*built_in_specs(), str(used)]))
        table = Table("model", "dimension", "input", "copy threshold", "source")
        for name in names:
            spec = load_spec(name)
            mark = " (in use)" if name == str(used) else ""
            size = f"{spec.pixels.width} × {spec.pixels.height}"
            table.add_row(spec.id + mark, str(spec.dimension), size, f"{spec.copy_threshold:g}", spec.source)
        stdout().print(table)


@app.command()
def show(model: Model) -> None:
    """Print a model's spec, with the path of its network."""
    from ops.cli import friendly_errors

    with friendly_errors():
        spec = load_spec(model)
        shown = spec.model_copy(update={"onnx": OnnxFile(path=spec.onnx_path())})
        typer.echo(yaml.safe_dump(shown.model_dump(mode="json", exclude_none=True), sort_keys=False), nl=False)


@app.command("check")
def check_model(
    model: Model,
    threads: Annotated[int, typer.Option(min=1, help="Cores that a run computes on.")] = 1,
) -> None:
    """Run a model: dimension, norm, speed, batch invariance, memory. Exit code 1: it shouldn't be used."""
    from ops.cli import EXIT_FAILURE, friendly_errors
    from ops.models.check import check

    with friendly_errors():
        seen = check(load_spec(model), threads=threads)
        shortest, longest = seen.lengths
        table = Table(show_header=False)
        table.add_row("dimension", str(seen.dimension))
        table.add_row("norm, before it is made 1", f"{shortest:.4g} to {longest:.4g}")
        table.add_row("speed", f"{seen.milliseconds:.1f} ms a picture, {threads} thread(s), 8 at once")
        table.add_row("batch invariance", f"cosine {seen.batch_cosine:.6f} at least, alone against in a batch")
        table.add_row("closest two pictures", f"cosine {seen.closest_pair:.4f}")
        table.add_row("network's file", f"{seen.file_mib:.1f} MiB")
        table.add_row("memory", f"{seen.memory_mib:.0f} MiB")
        stdout().print(table)
        for problem in seen.problems:
            typer.echo(f"problem: {problem}")
        if seen.problems:
            raise typer.Exit(EXIT_FAILURE)


@app.command("export-iv2")
def export(
    weights: Annotated[Path, typer.Argument(help="The predecessor's weights, gl18-tl-resnet50-gem-w-83fdc30.pth.")],
    out: Annotated[Path, typer.Option(help="The folder for network and spec.")] = Path("models"),
    int8: Annotated[
        Path | None, typer.Option(metavar="PHOTOS", help="Quantise as well, calibrated with this folder's photographs.")
    ] = None,
) -> None:
    """Make ONNX and a spec of the predecessor's network. Needs the extra `iv2`."""
    from ops.cli import friendly_errors

    with friendly_errors():
        try:
            from ops.models.iv2 import export_iv2
        except ImportError as error:
            raise ModelError(f"This needs PyTorch and iv2: install twinlens[iv2] ({error}).") from error
        path = export_iv2(weights, out)
        typer.echo(path)
        if int8 is not None:
            _quantise(load_spec(path), int8)


def _quantise(spec: ModelSpec, photos: Path) -> None:
    from ops.models.quantise import quantise

    quantised, agreed = quantise(spec, _pictures(photos, spec))
    typer.echo(write_spec(quantised))
    typer.echo(
        f"int8 against float32, on {agreed.pictures} pictures that it was not calibrated with: "
        f"cosine {agreed.mean_cosine:.4f} on average, {agreed.lowest_cosine:.4f} at least; "
        f"the same nearest picture for {agreed.top_1:.1%}"
    )


def _pictures(photos: Path, spec: ModelSpec) -> list[Pixels]:
    """The folder's pictures, at most MOST_PHOTOS of them spread over it, as the model sees them."""
    sources = find_sources([photos])
    sources = sources[:: -(-len(sources) // MOST_PHOTOS) or 1]
    found = []
    for source in track(sources, description="reading", console=stderr()):
        try:
            found.append(decode(source.path.read_bytes(), DecodeLimits(), spec.pixels).pixels)
        except UndecodableImage as error:
            stderr().print(plain(f"left out: {source.path}: {error}"), soft_wrap=True)
    return found
