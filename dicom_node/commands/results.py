"""`candela results`: withdraws results that were sent."""

from __future__ import annotations

import getpass
import json
import os
from typing import Annotated

import typer

from dicom_node.audit.trail import Party
from dicom_node.commands.common import ConfigOption, load_settings
from dicom_node.commands.job_lookup import full_id, open_client
from dicom_node.jobs.withdrawal import Withdrawing, withdraw
from pipeline.report.withdrawal import Reason

app = typer.Typer(help="The results that were sent: withdraw.", no_args_is_help=True)


@app.callback()
def results() -> None:
    """The results that were sent."""


@app.command("withdraw")
def withdraw_results(
    job: Annotated[str, typer.Argument(help="Job id, or the start of one that is unique.")],
    why: Annotated[str, typer.Option(help="Why, in a line for readers. Every destination of reports gets it.")],
    reason: Annotated[Reason, typer.Option(help="The kind of reason, which the PACS gets as a code.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config_file: ConfigOption = None,
) -> None:
    """Tell every destination that got results of a job that they are withdrawn. Safe to repeat."""
    settings = load_settings(config_file)
    with open_client(settings) as client:
        done = withdraw(client, settings, full_id(client, job), reason=reason, why=why, by=Party(_user(), "user"))
    typer.echo(json.dumps(_plain(done), indent=1) if as_json else _words(done))


def _words(done: Withdrawing) -> str:
    said = done.withdrawal
    lines = [f"withdrawn before, at {said.at.isoformat()}, for {said.reason}: that reason stays"] if done.before else []
    lines += [f"{result} is sent to {destination}" for result, destination in done.told]
    return "\n".join((*lines, f"`candela jobs show {said.job_id}` lists the answers"))


def _plain(done: Withdrawing) -> dict[str, object]:
    said = done.withdrawal
    told = [{"result": result, "destination": destination} for result, destination in done.told]
    return {"job": said.job_id, "reason": said.reason, "at": said.at.isoformat(), "before": done.before, "told": told}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no passwd entry
        return f"uid {os.getuid()}"
