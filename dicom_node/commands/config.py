"""`candela config`: check the settings, show them, and say which rule a series would hit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.common import ConfigOption, load_settings
from dicom_node.wiring import check_models
from pipeline.errors import NotRouted
from pipeline.intake import read_path
from pipeline.routing import mismatch

app = typer.Typer(help="Check and show the settings.", no_args_is_help=True)


@app.command()
def show(config_file: ConfigOption = None) -> None:
    """Print every setting in force as JSON; secrets are masked."""
    typer.echo(json.dumps(load_settings(config_file).model_dump(mode="json"), indent=2))


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(help="A series: say which rule it would hit.")] = None,
    calling_ae: Annotated[str, typer.Option(help="Calling AE title to assume for PATH.")] = "",
    config_file: ConfigOption = None,
) -> None:
    """Validate the settings; with PATH, explain rule by rule where that series would go."""
    settings = load_settings(config_file)
    check_models(settings)
    if not settings.rules:
        typer.echo("note: there are no [[rules]]: every series is kept and refused as NOT_ROUTED.", err=True)
    if not settings.receive.peers and not settings.receive.accept_any_peer:
        typer.echo("note: there are no [[receive.peers]]: every association is rejected.", err=True)
    typer.echo(f"settings are valid: {len(settings.rules)} rule(s), {len(settings.destinations)} destination(s)")
    if path is not None:
        header = read_path(path).header
        for rule in settings.rules:
            reason = mismatch(rule.when, header, calling_ae)
            typer.echo(f"rule {rule.name!r}: {reason or 'matches'}")
            if reason is None:
                goes = ", ".join(rule.destinations) or "nowhere"
                typer.echo(f"model {rule.model}, results to {goes}, {rule.priority}")
                return
        raise NotRouted("No rule takes this series.", where=str(path), todo="Add a [[rules]] table for it.")
