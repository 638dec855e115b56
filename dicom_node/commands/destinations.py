"""`candela destinations`: how the destinations stand, and trying one at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from dicom_node.commands.common import ConfigOption, console, load_settings
from dicom_node.commands.job_lookup import open_client
from dicom_node.jobs.circuits import Circuit, CircuitState
from dicom_node.jobs.client import DestinationRow

app = typer.Typer(help="The destinations: list them, resume one.", no_args_is_help=True)
DestinationArgument = Annotated[str, typer.Argument(help="Name of a destination.")]
STYLES = {"closed": "green", "open": "red", "half_open": "yellow", "disabled": "yellow"}


@app.command("list")
def list_destinations(config_file: ConfigOption = None) -> None:
    """Show each destination: its circuit, how many results wait for it, and whom to call."""
    with open_client(load_settings(config_file)) as client:
        print_rows(client.destinations())


@app.command()
def resume(destination: DestinationArgument, config_file: ConfigOption = None) -> None:
    """Try a destination now whose circuit is open, without waiting for its pause to end."""
    settings = load_settings(config_file)
    found = settings.destinations.get(destination)
    if found is None:
        known = ", ".join(settings.destinations) or "none"
        raise typer.BadParameter(f"there is no destination {destination!r} (known: {known})", param_hint="DESTINATION")
    if not found.enabled:
        raise typer.BadParameter(
            f"{destination!r} is disabled: set enabled = true and restart the workers", param_hint="DESTINATION"
        )
    with open_client(settings) as client:
        was_open = client.resume(destination)
    typer.echo(
        f"one delivery to {destination} is tried now" if was_open else f"the circuit of {destination} is not open"
    )


def print_rows(rows: Iterable[DestinationRow]) -> None:
    """A line for each destination."""
    table = Table("destination", "kind", "circuit", "waiting", "sending", "", box=None, header_style="bold")
    for row in rows:
        state = str(row.circuit.state) if row.target.enabled else "disabled"
        about = [_trouble(row.circuit) if row.target.enabled else "", row.target.comment, row.target.contact]
        table.add_row(
            escape(row.name),
            row.kind,
            f"[{STYLES[state]}]{state}[/]",
            str(row.waiting),
            str(row.sending),
            escape("; ".join(filter(None, about))),
        )
    console().print(table)


def _trouble(circuit: Circuit) -> str:
    if circuit.state is CircuitState.CLOSED:
        return f"{circuit.failures} failure(s) in a row, last {circuit.code}" if circuit.failures else ""
    since = _clock(datetime.fromtimestamp(circuit.since, tz=UTC))
    text = f"since {since}, after {circuit.failures} failures in a row, last {circuit.code}"
    if circuit.retry_at is None:
        return f"{text}; one delivery is tried"
    return f"{text}; next try {_clock(datetime.fromtimestamp(circuit.retry_at, tz=UTC))}"


def _clock(instant: datetime) -> str:
    return instant.astimezone().strftime("%Y-%m-%d %H:%M:%S")
