"""`candela jobs` and `candela status`: jobs in flight, dead letters and their reasons."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dicom_node.commands import destinations, identity, node_state
from dicom_node.commands.common import ConfigOption, console, load_settings
from dicom_node.commands.job_lookup import full_id, open_client
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.rejected import rejected_images
from dicom_node.jobs.status import DeliveryRow, DeliveryState, JobDetail, JobState, Tries
from dicom_node.jobs.withdrawn import withdrawn
from dicom_node.settings.tree import Settings
from dicom_node.store.layout import located
from dicom_node.store.received_again import received_again

app = typer.Typer(help="The jobs: list, show, retry, discard, cancel, identity.", no_args_is_help=True)
app.command("identity")(identity.identity)

JobArgument = Annotated[str, typer.Argument(help="Job id, or the start of one that is unique.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
STYLES = {
    "done": "green",
    "delivered": "green",
    "dead": "red",
    "retrying": "yellow",
    "cancelled": "dim",
    "discarded": "dim",
    "not_chosen": "dim",
    "companion": "dim",
    "superseded": "dim",
    "withdrawn": "dim",
    "held": "yellow",
}


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 30,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """List jobs, newest first."""
    with open_client(load_settings(config_file)) as client:
        rows = client.list(limit=limit, state=state)
    if as_json:
        typer.echo(json.dumps([_plain(row) for row in rows], indent=1))
        return
    table = Table("submitted", "state", "outcome", "deliveries", "rule", "job", box=None, header_style="bold")
    for row in rows:
        sent = Counter(str(item.state) for item in row.deliveries)
        table.add_row(
            _clock(row.submitted_at),
            _coloured(str(row.state)),
            _outcome(row),
            ", ".join(f"{count} {name}" for name, count in sent.items()) or "-",
            escape(row.job.rule or "-"),
            row.job.job_id,
        )
    console().print(table)


@app.command()
def show(job: JobArgument, as_json: JsonOption = False, config_file: ConfigOption = None) -> None:
    """Show one job: why its series counted as complete, its outcome, and each delivery."""
    settings = load_settings(config_file)
    with open_client(settings) as client:
        detail = client.show(full_id(client, job))
    manifests = (located(path, settings.data_dir) for path in detail.job.manifests)
    rejected = rejected_images(detail.job, settings)
    said = withdrawn(detail.job, settings)
    again = tuple(line for manifest in manifests for line in received_again(manifest, settings.data_dir))
    caveats = _caveats(detail, settings)
    if as_json:
        more = {
            "caveats": caveats,
            "received_again": again,
            "rejected": asdict(rejected) if rejected else None,
            "withdrawn": json.loads(said.to_json()) if said else None,
        }
        typer.echo(json.dumps({**_plain(detail), **more}, indent=1))
        return
    out = console()
    told = [*(("note", text) for text in caveats), *(("since", text) for text in again)]
    told += [("rejected", rejected.sentence())] if rejected else []
    told += [("withdrawn", f"for {said.reason} by {said.by}, at {said.at.isoformat()}: {said.why}")] if said else []
    for name, value in [*_facts(detail), *told]:  # whole lines, from which an id or a reason can be copied
        out.print(f"[bold]{name:<11}[/]{value if name == 'state' else escape(value)}", soft_wrap=True)
    if detail.deliveries:
        table = Table("result", "destination", "state", "tries", "answer or last error", "next try", box=None)
        for row in detail.deliveries:
            table.add_row(
                row.result,
                row.destination,
                _coloured(str(row.state)),
                str(row.tries.attempts),
                escape(_answer(row, settings)),
                _clock(row.tries.next_try) if row.tries.next_try else "",
            )
        out.print(table)
        for row in detail.deliveries:
            _print_details(out, row)


def _print_details(out: Console, row: DeliveryRow) -> None:
    """The destination's statements about a failed delivery, such as the issues of an OperationOutcome."""
    failure = row.tries.last_failure
    if failure is None or not failure.details or row.state is DeliveryState.DELIVERED:
        return
    out.print(f"\n[bold]{escape(row.destination)} said of {escape(row.result)}:[/]")
    for text in failure.details:
        out.print(f"  {escape(text)}", soft_wrap=True)


@app.command()
def retry(
    job: Annotated[str | None, typer.Argument(help="Job id, or the start of one that is unique.")] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="Every job that has a dead letter.")] = False,
    config_file: ConfigOption = None,
) -> None:
    """Retry the dead, cancelled or discarded parts of a job, or of all dead jobs."""
    if (job is None) != all_dead:
        raise typer.BadParameter("give a job or --all-dead", param_hint="JOB")
    with open_client(load_settings(config_file)) as client:
        names = [full_id(client, job)] if job else _dead(client)
        for name in names:
            again = client.retry(name)
            about = f" of {name}" if all_dead else ""
            if again.reading:
                typer.echo(f"reading the series{about} again")
            for result, destination in again.deliveries:
                typer.echo(f"sending {result}{about} to {destination} again")
            if not again.reading and not again.deliveries:
                typer.echo("nothing of this job is dead, cancelled or discarded")
    if not names:
        typer.echo("no job has a dead letter")


@app.command()
def discard(job: JobArgument, config_file: ConfigOption = None) -> None:
    """Discard the dead letters of a job, which then wait for no operator; `retry` revokes this."""
    with open_client(load_settings(config_file)) as client:
        gone = client.discard(full_id(client, job))
    if gone.reading:
        typer.echo("the series will not be read")
    for result, destination in gone.deliveries:
        typer.echo(f"{result} will not be sent to {destination}")
    if not gone.reading and not gone.deliveries:
        typer.echo("nothing of this job is dead")


@app.command(hidden=True)
def resume(destination: destinations.DestinationArgument, config_file: ConfigOption = None) -> None:
    """The former name of `candela destinations resume`."""
    typer.echo("hint: this command is now `candela destinations resume`", err=True)
    destinations.resume(destination, config_file)


@app.command()
def cancel(job: JobArgument, config_file: ConfigOption = None) -> None:
    """Stop the remaining work of a job; names what could not be stopped."""
    with open_client(load_settings(config_file)) as client:
        stopped = client.cancel(full_id(client, job))
    typer.echo(f"{stopped.stopped} piece(s) of work stopped")
    for row in stopped.delivered:
        typer.echo(f"{row.result} had been delivered to {row.destination}")
    for row in stopped.in_flight:
        typer.echo(f"{row.result} was being sent to {row.destination} and may arrive")


def status(config_file: ConfigOption = None) -> None:
    """Count the jobs by state; show dead letters, circuits, disk and certificates."""
    settings = load_settings(config_file)
    for line in node_state.lines(settings):
        typer.echo(line)
    with open_client(settings) as client:
        rows = client.list(limit=1000)
        targets = client.destinations()
    counts = Counter(str(row.state) for row in rows)
    typer.echo(f"{len(rows)} job(s): " + (", ".join(f"{n} {name}" for name, n in counts.items()) or "none yet"))
    if targets:
        destinations.print_rows(targets)
    for row in rows:
        if row.state is JobState.DEAD:
            failure = row.reading.last_failure
            reasons = [
                f"{d.result} to {d.destination}: {_failure(d.tries)}" for d in row.deliveries if d.state == "dead"
            ]
            typer.echo(f"dead: {row.job.job_id}")
            for reason in reasons or [f"reading: {failure.code}: {failure.text}" if failure else "reading"]:
                typer.echo(f"  {reason}")


def _dead(client: JobsClient) -> list[str]:
    return [row.job.job_id for row in client.list(limit=1_000_000, state=JobState.DEAD)]


def _facts(detail: JobDetail) -> list[tuple[str, str]]:
    job = detail.job
    facts = [
        ("job", job.job_id),
        ("series", job.series_instance_uid),
        ("study", job.study_instance_uid),
        ("revision", f"{job.revision} ({job.instances} instances from {job.calling_ae})"),
        ("complete", f"{job.completion}, at {job.completed_at}"),
        ("rule", f"{job.rule or 'none'} → model {job.model or 'none'}, {job.priority}"),
        ("state", _coloured(str(detail.state))),
        ("outcome", _outcome(detail)),
    ]
    if job.identity_from:
        facts.append(("identity", f"as instance {job.identity_from} has it, an operator's choice"))
    if job.selection:
        facts.append(("chosen", job.selection))
    if reason := (detail.result and detail.result.refusal) or job.refusal:
        facts.append(("reason", reason))
    if detail.result and detail.result.summary:
        facts.append(("summary", detail.result.summary))
    if detail.reading.last_failure:
        facts.append(("last error", _failure(detail.reading)))
        if detail.reading.last_failure.trace:
            facts.append(("trace", detail.reading.last_failure.trace))
    return facts


def _caveats(detail: JobDetail, settings: Settings) -> list[str]:
    """The caveats of the results, where these are still on this disk."""
    if detail.result is None or not detail.result.summary:
        return []
    try:
        found = json.loads(located(detail.result.summary, settings.data_dir).read_text())
    except (OSError, ValueError):
        return []
    # 0.1.0 stored sentences, later versions codes with values and the sentence that they make.
    return [str(item["text"] if isinstance(item, dict) else item) for item in found.get("caveats", ())]


def _outcome(detail: JobDetail) -> str:
    if detail.job.companion_of is not None:
        return _channel(detail.job, detail.job.companion_of)
    if detail.outcome is None or detail.result is None:
        return "-"
    code = f" ({detail.result.refusal_code})" if detail.result.refusal_code else ""
    return f"{detail.outcome}{code}"


def _channel(job: SeriesJob, reader: str) -> str:
    """What a companion is: the channel, and the id of the job that reads it."""
    return f"channel {job.channel} of job {reader}" if job.channel else f"a channel of job {reader}"


def _answer(row: DeliveryRow, settings: Settings) -> str:
    if row.receipt is None and row.destination in settings.disabled_destinations:
        return "the destination is disabled: it waits"
    return row.receipt or (_failure(row.tries) if row.tries.last_failure else "")


def _failure(tries: Tries) -> str:
    return f"{tries.last_failure.code}: {tries.last_failure.text}" if tries.last_failure else "unknown"


def _clock(instant: datetime) -> str:
    return instant.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _coloured(state: str) -> str:
    style = STYLES.get(state)
    return f"[{style}]{state}[/]" if style else state


def _plain(detail: JobDetail) -> dict[str, Any]:
    """A job as JSON-ready values; times in ISO 8601."""
    data = asdict(detail)
    data["outcome"] = detail.outcome
    plain: dict[str, Any] = json.loads(json.dumps(data, default=_jsonable))
    return plain


def _jsonable(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
