"""`candela models`: the registry and its cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from dicom_node.commands.common import REFUSED, ConfigOption, console, load_settings
from dicom_node.settings.tree import Settings
from models import registry
from models.workflow.installing.bundle import WorkflowBundle
from pipeline import phantom
from pipeline.errors import BadSettings
from pipeline.findings.model import AnswerKind

app = typer.Typer(help="The models: list, cards, checks, training, evaluation, explanation.", no_args_is_help=True)
ExplainMethod = Literal["grad-cam", "gradient-shap"]


@app.command("list")
def list_models(config_file: ConfigOption = None) -> None:
    """List the models that ship and those in the configured folders."""
    settings = load_settings(config_file)
    table = Table("name", "version", "answer", "digest", "folder", box=None, header_style="bold")
    for entry in registry.entries(settings.models.folders):
        table.add_row(entry.name, entry.version, entry.kind, entry.digest[:12], str(entry.folder))
    console().print(table)


@app.command()
def show(name: str, config_file: ConfigOption = None) -> None:
    """Print a model's card, and what a MONAI bundle's answer means by its candela block."""
    model = registry.get(name, load_settings(config_file).models.folders)
    console().print(Markdown(model.card()))
    if isinstance(model.found, WorkflowBundle):
        table = Table("value", "name", "title", "code", title=model.kind, box=None, header_style="bold")
        for item in model.found.concepts:
            code = f"{item.code.value} {item.code.scheme} {item.code.meaning}"
            table.add_row(str(item.value), item.name, item.title, code)
        console().print(table)


@app.command()
def check(
    name: str,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the computed series and the results that the model gives on them.")
    ] = None,
    config_file: ConfigOption = None,
) -> None:
    """Load a model as a worker would: files, digests, contract, weights. A MONAI bundle also reads computed images."""
    from models.runtime import load_model
    from models.workflow.installing.check import check_workflow

    settings = load_settings(config_file)
    found = registry.get(name, settings.models.folders).found
    if isinstance(found, WorkflowBundle):
        for line in check_workflow(found, settings.models.device):
            typer.echo(line)
        if out is not None:
            _write_trial(found, out, settings)
        return
    model = load_model(name, folders=settings.models.folders, device=settings.models.device)
    identity = model.identity
    typer.echo(f"{identity.name} {identity.version} is sound; digest {identity.digest}")


def _write_trial(bundle: WorkflowBundle, out: Path, settings: Settings) -> None:
    """Write the computed series as DICOM files, and process them as `candela process` does."""
    from dicom_node.inference.process_path import process_path
    from models.workflow.installing.trial import trial_series

    for channel, datasets in trial_series(bundle.contract).items():
        phantom.save(datasets, out / "series" / channel)
    summary = process_path(
        out / "series", out / "results", settings, model=bundle.name, progress=lambda _stage: None, with_page=True
    )
    if "code" in summary:
        typer.echo(f"the computed series was refused ({summary['code']}): {summary['reason']}")
        raise typer.Exit(REFUSED)
    typer.echo(f"{summary['statement']} {len(summary['objects'])} DICOM objects in {out / 'results'}")


@app.command()
def add(
    source: Annotated[Path, typer.Argument(metavar="PATH", help="A MONAI bundle: its folder, or a zip archive of it.")],
    name: Annotated[str | None, typer.Option(help="The model's name; default: the folder's or archive's.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Which of models.folders it goes into; default: the first.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="MR, CT, ..., where the bundle's metadata do not tell.")] = None,
    kind: Annotated[AnswerKind | None, typer.Option(help="What it answers, where the metadata do not tell.")] = None,
    config_file: ConfigOption = None,
) -> None:
    """Install a MONAI bundle into a folder of models, with a first candela block. A bundle is code: it is run here."""
    from models.contract import unfinished
    from models.workflow.installing.install import add as install

    folders = load_settings(config_file).models.folders
    into = folder or next(iter(folders), None)
    if into is None or into not in folders:
        raise BadSettings(
            "There is no folder of models for it.",
            where="models.folders",
            todo='Name one in candela.toml: [models] folders = ["/srv/candela/models"].',
        )
    bundle = install(source, into, name=name, modality=modality, kind=kind)
    typer.echo(f"{bundle.name} {bundle.version} ({bundle.kind}) is in {bundle.folder}; digest {bundle.digest}")
    for item in unfinished(bundle.contract):
        typer.echo(f"to fill in (configs/candela.json): {item}")
    typer.echo(f"next: candela models check {bundle.name}")


@app.command()
def migrate(name: str, config_file: ConfigOption = None) -> None:
    """Write the candela block of contract 1 as configs/candela.json. The answers stay, the digest changes."""
    from models import migrate as moving
    from models.bundle import METADATA
    from models.metadata import read_metadata

    folders = load_settings(config_file).models.folders
    model = registry.get(name, folders)
    if model.folder.parent == registry.SHIPPED:
        raise BadSettings("A model that ships with Candela is migrated by its release.", where=name)
    if isinstance(model.found, WorkflowBundle) or not moving.migrate(
        model.folder, read_metadata(model.folder / METADATA).candela
    ):
        typer.echo(f"{name} has contract 2 already")
        return
    typer.echo(f"{name} has contract 2 now; its digest changes to {registry.get(name, folders).digest}")


DataOption = Annotated[Path, typer.Option(help="Folder with brain_t1ce/, brain_notumor/ and dicom/.")]


@app.command()
def train(
    name: str,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log and the finished weights.")],
    fold: Annotated[int | None, typer.Option(help="Hold this fold out, and train on the recipe's other folds.")] = None,
    config_file: ConfigOption = None,
) -> None:
    """Train a model by the recipe of its bundle; resumes where a run in OUT was cut off."""
    from models.training.train import train as run

    recipe = registry.get(name, load_settings(config_file).models.folders).folder / "configs" / "train.json"
    console().print(f"weights are in {run(name, data, out, config=recipe, fold=fold)}", highlight=False, soft_wrap=True)


@app.command()
def evaluate(
    name: str,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for evaluation.json, plots/ and gallery/.")],
    fold: Annotated[
        int | None, typer.Option(help="Only this fold; default: every fold that there are weights for.")
    ] = None,
    weights_dir: Annotated[
        Path | None, typer.Option(help="Weights by held-out fold, foldK.safetensors; default: the model's own.")
    ] = None,
    config_file: ConfigOption = None,
) -> None:
    """Evaluate a model on patients outside of its training: figures, plots, and its errors.

    The gallery shows pictures of the data set: observe its licence.
    """
    from models.evaluation.evaluate import evaluate as run
    from models.evaluation.evaluate import weights_in

    settings = load_settings(config_file)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task("", total=1.0)
        result = run(
            name,
            data,
            folders=settings.models.folders,
            weights=weights_in(weights_dir) if weights_dir else None,
            fold=fold,
            out=out,
            tell=lambda stage, done: progress.update(task, description=stage, completed=done),
        )
    console().print(_headline(result))
    console().print(f"all figures, plots and the gallery are in {out}", highlight=False, soft_wrap=True)


@app.command()
def explain(
    path: Annotated[Path, typer.Argument(help="One series: a folder, a zip archive or a DICOM file.")],
    out: Annotated[Path, typer.Option(help="The picture (PNG).")],
    slice_number: Annotated[
        int | None, typer.Option("--slice", help="Slice, from 1 along the normal; default: the model's key slice.")
    ] = None,
    method: Annotated[ExplainMethod, typer.Option(help="gradient-shap needs the research extra.")] = "grad-cam",
    class_name: Annotated[str | None, typer.Option("--class", help="Class; default: the slice's likeliest.")] = None,
    model: Annotated[str, typer.Option(help="Model to ask.")] = "brain_mri_tumor",
    config_file: ConfigOption = None,
) -> None:
    """Draw the evidence for a class on one slice, as a picture for researchers. Header checks apply."""
    from models.evaluation.heat_picture import explain_plane, write_picture
    from models.runtime import ResidentModel, load_model
    from pipeline.geometry.build import build_volume
    from pipeline.reading.files import read_path
    from pipeline.report import sentences

    settings = load_settings(config_file)
    loaded = load_model(model, folders=settings.models.folders, device=settings.models.device)
    assert isinstance(loaded, ResidentModel)
    if not path.exists():
        raise typer.BadParameter(f"there is nothing at {path}", param_hint="PATH")
    series = read_path(path)
    for caveat in loaded.check(series.header):
        typer.echo(sentences.caveat(caveat), err=True)
    volume = build_volume(series.datasets)
    plane = loaded.predict(volume).key_slice if slice_number is None else slice_number - 1
    explanation = explain_plane(loaded, volume, plane, method, class_name=class_name)
    write_picture(explanation, loaded, out)
    console().print(
        f"slice {plane + 1}: {explanation.name} {explanation.probability:.0%}; {out}", highlight=False, soft_wrap=True
    )


def _headline(result: dict[str, Any]) -> Table:
    """A table of the pooled figures with their intervals, and of those of each fold."""
    folds = result["by_fold"]
    table = Table("", "pooled", "95 % interval", *(f"fold {fold}" for fold in folds), box=None, header_style="bold")
    for name, (value, low, high) in result["pooled"].items():
        shown = (f"{folds[fold][name]:.3f}" for fold in folds)
        table.add_row(name.replace("_", " "), f"{value:.3f}", f"{low:.3f} to {high:.3f}", *shown)
    error = result["calibration"]["ece"]
    table.add_row("expected calibration error", f"{error:.3f}", "", *(f"{folds[fold]['ece']:.3f}" for fold in folds))
    return table
