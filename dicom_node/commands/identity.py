"""`candela jobs identity`: shows how the images of a series differ in the patient that they name, and takes the right
one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from dicom_node.audit.trail import open_trail
from dicom_node.commands.common import ConfigOption, console, load_settings
from dicom_node.commands.job_lookup import full_id, open_client
from dicom_node.jobs import identity_choice
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.identity_choice import AGAIN, CHOSEN, SHOWN, VALUES, Identities
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.status import JobDetail
from dicom_node.settings.tree import Settings


def identity(
    job: Annotated[str, typer.Argument(help="Job id, or the start of one that is unique.")],
    right: Annotated[
        str | None,
        typer.Option(help="SOP Instance UID of an image that names the right patient; the series is read again."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="The images were corrected and sent again: read their present versions.")
    ] = False,
    values: Annotated[
        bool, typer.Option("--values", help="Also print the patient data in the images, to this terminal only.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config_file: ConfigOption = None,
) -> None:
    """Show how the images of a job differ in the patient that they name; or choose the right one
    and read them again.
    """
    if again and right is not None:
        raise typer.BadParameter("give --right or --again", param_hint="--again")
    settings = load_settings(config_file)
    with open_client(settings) as client:
        detail = client.show(full_id(client, job))
        if right is not None:
            typer.echo(_choose(client, detail, right, settings))
            return
        if again:
            typer.echo(_read_again(client, detail, settings))
            return
        found = identity_choice.identities(detail, settings)
        rows = _values(detail.job, found, settings) if values else {}
        if as_json:
            typer.echo(json.dumps(_plain(found, rows), indent=1, ensure_ascii=False))
        else:
            _print(client, found, rows)


def _choose(client: JobsClient, detail: JobDetail, right: str, settings: Settings) -> str:
    """Carry out the choice; returns what was done. The audit trail records it before the queue does."""
    again = identity_choice.chosen(detail, right, settings)
    identity_choice.audit(open_trail(settings), settings, again, CHOSEN, right)
    if client.submit(again):
        return f"reading the series again under the identity of that instance: job {again.job_id}"
    return f"this was already chosen: job {again.job_id}"


def _read_again(client: JobsClient, detail: JobDetail, settings: Settings) -> str:
    job = identity_choice.corrected(detail, client.of_series(detail.job.series_instance_uid), settings)
    identity_choice.audit(open_trail(settings), settings, job, AGAIN)
    new = client.submit(job)
    return f"{'reading the series again' if new else 'this was read before'}: job {job.job_id}"


def _values(job: SeriesJob, found: Identities, settings: Settings) -> dict[str, dict[str, str]]:
    """The values of each group, by its first instance."""
    identity_choice.audit(open_trail(settings), settings, job, SHOWN)
    firsts = (group.sop_instance_uids[0] for group in found.groups)
    return {uid: identity_choice.values_of(job, uid, settings) for uid in firsts}


def _plain(found: Identities, values: dict[str, dict[str, str]]) -> dict[str, object]:
    groups = [
        {
            "instances": list(group.sop_instance_uids),
            "differs": list(group.differs),
            **({"values": values[group.sop_instance_uids[0]]} if values else {}),
        }
        for group in found.groups
    ]
    return {"groups": groups, "other_series": found.others}


def _print(client: JobsClient, found: Identities, values: dict[str, dict[str, str]]) -> None:
    out = console()
    total = sum(len(group.sop_instance_uids) for group in found.groups)
    out.print(f"{total} instance(s), of which {len(found.groups)} group(s) say the same of patient and study")
    table = Table("instances", "one of them", "differs from the first in", *(VALUES if values else ()), box=None)
    for group in found.groups:
        first = group.sop_instance_uids[0]
        shown = (escape(values[first][keyword]) for keyword in VALUES) if values else ()
        table.add_row(str(len(group.sop_instance_uids)), first, ", ".join(group.differs) or "-", *shown)
    out.print(table)
    for series, why in found.others.items():
        out.print(f"another series of the study names another patient ({why}): {series}", soft_wrap=True)
        for line in _jobs(client.of_series(series)):
            out.print(f"  {line}", soft_wrap=True)


def _jobs(details: Iterable[JobDetail]) -> Iterable[str]:
    """The state of another series' jobs: an operator must know of a report that was sent."""
    for detail in details:
        sent = sorted({row.destination for row in detail.deliveries if row.state == "delivered"})
        told = f", delivered to {', '.join(sent)}" if sent else ""
        yield escape(f"job {detail.job.job_id}: {detail.state}, {detail.outcome or 'no outcome'}{told}")
