"""`candela audit`: lists the audit trail and verifies it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from dicom_node.audit import trail as audit
from dicom_node.commands.common import ConfigOption, console, load_settings

app = typer.Typer(help="The audit trail: list, verify.", no_args_is_help=True)

OUTCOMES = {0: "[green]success[/]", 4: "[yellow]tried again[/]", 8: "[red]failed[/]", 12: "[red]node impaired[/]"}


@app.command("list")
def list_records(
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day, UTC; default: the newest with records.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON, one a line.")] = False,
    config_file: ConfigOption = None,
) -> None:
    """List the records of one day, oldest first."""
    found = audit.files(load_settings(config_file).audit_dir)
    wanted = [path for path in found if day is None or audit.day_of(path) == day.date()]
    if not wanted:
        typer.echo("no audit records" + (f" of {day:%Y-%m-%d}" if day else " yet"), err=True)
        return
    records = audit.read(wanted[-1])
    if as_json:
        for record in records:
            typer.echo(json.dumps(record, ensure_ascii=False))
        return
    table = Table("time (UTC)", "activity", "outcome", "from", "to", "what", "study", box=None, header_style="bold")
    for record in records:
        table.add_row(
            str(record["time"])[11:23],
            escape(record["activity"]["meaning"]),
            OUTCOMES.get(record["outcome"], "?") + (f" {escape(record['reason'])}" if record["reason"] else ""),
            escape(_party(record["source"])),
            escape(_party(record["destination"])),
            escape(_what(record)),
            escape(", ".join(record["studies"])),
        )
    console().print(table)


@app.command()
def verify(config_file: ConfigOption = None) -> None:
    """Check that every line follows the one before it. Exit code 1: something was changed, removed or cut short."""
    folder = load_settings(config_file).audit_dir
    problems = audit.verify(folder)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"the audit trail is whole: {len(audit.files(folder))} file(s)")


def _party(party: dict[str, Any]) -> str:
    return f"{party['name']} ({party['address']})" if party["address"] else str(party["name"])


def _what(record: dict[str, Any]) -> str:
    count = "" if record["count"] is None else f" × {record['count']}"
    return f"{record['what']}{count}"
