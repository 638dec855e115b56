"""`candela models`: the registry and its cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown
from rich.table import Table

from dicom_node.commands.common import ConfigOption, console, load_settings
from models import registry

app = typer.Typer(help="The models: list, cards, checks, training.", no_args_is_help=True)


@app.command("list")
def list_models(config_file: ConfigOption = None) -> None:
    """List the models that ship and those in the configured folders."""
    settings = load_settings(config_file)
    table = Table("name", "version", "digest", "folder", box=None, header_style="bold")
    for entry in registry.entries(settings.models.folders):
        table.add_row(entry.name, entry.version, entry.digest[:12], str(entry.folder))
    console().print(table)


@app.command()
def show(name: str, config_file: ConfigOption = None) -> None:
    """Print a model's card."""
    console().print(Markdown(registry.get(name, load_settings(config_file).models.folders).card()))


@app.command()
def check(name: str, config_file: ConfigOption = None) -> None:
    """Load a model as a worker would: files, digests, contract, weights."""
    from models.runtime import load_model

    settings = load_settings(config_file)
    model = load_model(name, folders=settings.models.folders, device=settings.models.device)
    identity = model.identity
    typer.echo(f"{identity.name} {identity.version} is sound; digest {identity.digest}")


@app.command()
def train(
    name: str,
    data: Annotated[Path, typer.Option(help="Folder with brain_t1ce/, brain_notumor/ and dicom/.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log and the finished weights.")],
) -> None:
    """Train a model by the recipe of its bundle; resumes where a run in OUT was cut off."""
    from models.training.train import train as run

    run(name, data, out)
