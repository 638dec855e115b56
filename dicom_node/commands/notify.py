"""`candela notify`: run the notifications alone, try a receiver, list and acknowledge troubles."""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from dicom_node.commands.common import ConfigOption, console, load_settings
from dicom_node.monitoring.ledger import Acknowledgement, Ledger

app = typer.Typer(help="Notifications: run, test a receiver, list and acknowledge troubles.", no_args_is_help=True)


@app.command()
def run(config_file: ConfigOption = None) -> None:
    """Notify until SIGTERM or SIGINT. `candela serve` does so by itself where there are rules."""
    from dicom_node.monitoring.service import run as notify

    raise typer.Exit(notify(load_settings(config_file)))


@app.command("test")
def try_receiver(
    name: Annotated[str, typer.Argument(help="Name of a receiver.")],
    config_file: ConfigOption = None,
) -> None:
    """Send a test message to a receiver now, and say whether its server took it."""
    from dicom_node.monitoring import messages, senders

    settings = load_settings(config_file)
    receiver = settings.notify.receivers.get(name)
    if receiver is None:
        known = ", ".join(settings.notify.receivers) or "none"
        raise typer.BadParameter(f"there is no receiver {name!r} (known: {known})", param_hint="NAME")
    refused = senders.send(name, receiver, messages.trial(settings, time.time()))
    if refused:
        typer.echo(f"{name}: the server refused {refused} of the addresses", err=True)
        raise typer.Exit(1)
    typer.echo(f"{name} took the test message")


@app.command("list")
def list_troubles(config_file: ConfigOption = None) -> None:
    """List the troubles that last, the findings that nobody acknowledged, and the messages that wait."""
    ledger = Ledger(load_settings(config_file).notify_dir)
    table = Table("id", "event", "since", "told", "acknowledged", "", box=None, header_style="bold")
    for entry in sorted(ledger.open(), key=lambda one: one.began):
        seen = _seen(ledger.acknowledgement(entry.id))
        told = ", ".join(entry.told) or "nobody"
        table.add_row(entry.id, entry.event, _clock(entry.began), escape(told), escape(seen), escape(entry.text))
    if not table.rows:
        typer.echo("nothing is wrong")
    else:
        console().print(table)
    for receiver, number in Counter(item.receiver for item in ledger.waiting).items():
        typer.echo(f"{number} message line(s) wait for {receiver}")


@app.command()
def ack(
    entry_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a trouble, from a message or `list`.")],
    by: Annotated[str | None, typer.Option(help="Who has seen it; default: the user of this terminal.")] = None,
    config_file: ConfigOption = None,
) -> None:
    """Acknowledge a trouble: no reminder and no escalation follows; its end is still reported."""
    ledger = Ledger(load_settings(config_file).notify_dir)
    found = ledger.acknowledge(entry_id, by or _user(), time.time())
    typer.echo(f"acknowledged: {found.text}")


def _user() -> str:
    return os.environ.get("LOGNAME") or os.environ.get("USER") or f"user {os.getuid()}"


def _seen(acknowledged: Acknowledgement | None) -> str:
    return f"{acknowledged.by}, {_clock(acknowledged.at)}" if acknowledged else ""


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
