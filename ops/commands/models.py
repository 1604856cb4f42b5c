"""`twinlens models list | show | check | switch | export-iv2`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.commands.common import AsJson, DataOption, command, ended, print_answer, print_json
from ops.hints import DATA
from schemas.errors import ConfigurationError, RequestRefused

app = typer.Typer(help="Look at models, try them, make them.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or its spec file.")]


@app.command("list")
def list_models(as_json: AsJson = False, data: DataOption = DATA) -> None:
    """List the models that come along and the one that the settings name."""
    with command(data):
        from rich.table import Table

        from imaging.model_spec import built_in_specs, load_spec
        from ops.installation import installation
        from ops.terminal import stdout

        used = installation(data).model.spec
        names = list(dict.fromkeys([*built_in_specs(), str(used)]))
        table = Table("model", "dimension", "input", "copy threshold", "source")
        for name in names:
            spec = load_spec(name)
            if as_json:
                facts = spec.model_dump(mode="json", exclude_none=True)
                print_json({"id": spec.id, "in_use": name == str(used), "spec": facts})
                continue
            mark = " (in use)" if name == str(used) else ""
            size = f"{spec.pixels.width} × {spec.pixels.height}"
            table.add_row(spec.id + mark, str(spec.dimension), size, f"{spec.copy_threshold:g}", spec.source)
        if not as_json:
            stdout().print(table)


@app.command()
def show(model: Model, as_json: AsJson = False) -> None:
    """Print a model's spec, with the path of its network."""
    with command():
        import yaml

        from imaging.model_spec import OnnxFile, load_spec

        spec = load_spec(model)
        whole = spec.model_copy(update={"onnx": OnnxFile(path=spec.onnx_path())})
        facts = whole.model_dump(mode="json", exclude_none=True)
        if as_json:
            print_json(facts)
        else:
            typer.echo(yaml.safe_dump(facts, sort_keys=False), nl=False)


@app.command("check")
def check_model(
    model: Model,
    threads: Annotated[int, typer.Option(min=1, help="Cores that a run computes on.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Run a model: dimension, norm, speed, batch invariance, memory. Exit code 1: it shouldn't be used."""
    with command():
        from rich.table import Table

        from imaging.model_spec import load_spec
        from ops.models.check import check
        from ops.terminal import stdout

        seen = check(load_spec(model), threads=threads)
        if as_json:
            print_json({**asdict(seen), "problems": seen.problems})
            raise ended(well=not seen.problems)
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
        raise ended(well=not seen.problems)


@app.command()
def switch(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="A model's id, or its spec file.")] = None,
    rate: Annotated[float, typer.Option(min=0, help="Pictures to bring over a second, at most; 0: no limit.")] = 20,
    leave_behind: Annotated[
        bool, typer.Option("--leave-behind", help="Switch though some pictures can't be read just now.")
    ] = False,
    compare: Annotated[
        int | None,
        typer.Option(min=1, metavar="SEARCHES", help="Only say how many of so many searches change their first hit."),
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the model of before.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Drop the collection of before; no way back then.")] = False,
    as_json: AsJson = False,
    data: DataOption = DATA,
) -> None:
    """Put another model in the place of the one in use, while pictures stay searchable. Broken off, run it again."""
    with command(data):
        from ops.installation import Server, installation
        from ops.models import switch as switching

        if [model is not None, compare is not None, rollback, finish].count(True) != 1:
            raise RequestRefused("say one of MODEL, --compare, --rollback and --finish")
        settings = installation(data, Server.CATALOG, Server.VECTORS, Server.OBJECTS, Server.BROKER)
        facts: dict[str, Any]
        if model is not None:
            done = asyncio.run(switching.run_switch(settings, model, rate=rate, leave_behind=leave_behind))
            facts, words = {"action": "switch", **asdict(done)}, done.in_words(data)
        elif compare is not None:
            found = asyncio.run(switching.run_compare(settings, compare))
            facts, words = {"action": "compare", **asdict(found)}, switching.compared_in_words(found)
        elif rollback:
            asyncio.run(switching.run_rollback(settings))
            facts, words = {"action": "rollback"}, "the model of before is in use, and the other collection is dropped"
        else:
            kept = asyncio.run(switching.run_finish(settings))
            facts = {"action": "finish", "model": kept}
            words = f"{kept} is in use, and the old collection is dropped"
        well = facts.get("in_use", True)
        print_answer(facts, words, as_json=as_json, well=well)
        raise ended(well=well)


@app.command("export-iv2")
def export(
    weights: Annotated[Path, typer.Argument(help="The predecessor's weights, gl18-tl-resnet50-gem-w-83fdc30.pth.")],
    out: Annotated[Path, typer.Option(help="The folder for network and spec.")] = Path("models"),
    int8: Annotated[
        Path | None, typer.Option(metavar="PHOTOS", help="Quantise as well, calibrated with this folder's photographs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make ONNX and a spec of the predecessor's network. Needs the extra `iv2`."""
    with command():
        try:
            from ops.models.iv2 import export_iv2
        except ImportError as error:
            raise ConfigurationError(f"this needs PyTorch and iv2: install twinlens[iv2] ({error})") from error
        path = export_iv2(weights, out)
        facts: dict[str, Any] = {"spec": str(path), "quantised": None, "agreement": None}
        if not as_json:
            typer.echo(path)
        if int8 is not None:
            from imaging.model_spec import load_spec, write_spec
            from ops.models.quantise import calibration_pictures, quantise

            spec = load_spec(path)
            quantised, agreed = quantise(spec, calibration_pictures(int8, spec))
            facts |= {"quantised": str(write_spec(quantised)), "agreement": asdict(agreed)}
            if not as_json:
                typer.echo(facts["quantised"])
                typer.echo(
                    f"int8 against float32, on {agreed.pictures} pictures that it was not calibrated with: "
                    f"cosine {agreed.mean_cosine:.4f} on average, {agreed.lowest_cosine:.4f} at least; "
                    f"the same nearest picture for {agreed.top_1:.1%}"
                )
        if as_json:
            print_json(facts)
