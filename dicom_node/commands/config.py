"""`candela config`: check the settings, show them, and explain where a series, or each series of a study, goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dicom_node.commands.common import ConfigOption, console, load_settings
from dicom_node.inference.study_channels import choices_of
from dicom_node.inference.study_folder import FolderSeries, find_series
from dicom_node.node.roles import check_destinations, check_models
from dicom_node.settings.destinations import FhirDestination
from dicom_node.settings.hl7v2 import Hl7v2Destination
from dicom_node.settings.tree import DEFAULT_FILE, Settings
from models import registry
from models.registry import RegisteredModel
from pipeline.errors import NotRouted, Refused
from pipeline.findings.own_results import is_own_result
from pipeline.routing.rules import Routing, Rule, Verdict, judge
from pipeline.routing.selection import Candidate, choose

app = typer.Typer(help="Check and show the settings, explain the rules.", no_args_is_help=True)

CallingOption = Annotated[str, typer.Option("--calling-ae", help="Calling AE title to assume for PATH.")]
CalledOption = Annotated[str | None, typer.Option("--called-ae", help="Called AE title to assume; default: ours.")]


@app.command()
def show(config_file: ConfigOption = None) -> None:
    """Print every setting in force as JSON; secrets are masked."""
    typer.echo(json.dumps(load_settings(config_file).model_dump(mode="json"), indent=2))


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(help="A series or study: explain where it would go.")] = None,
    calling_ae: CallingOption = "",
    online: Annotated[
        bool, typer.Option("--online", help="Also ask every destination and every source of counts for an answer.")
    ] = False,
    config_file: ConfigOption = None,
) -> None:
    """Validate the settings; with PATH, explain rule by rule where that series would go, as `explain` does.

    With --online, exit code 1 says that a peer does not answer.
    """
    settings = load_settings(config_file)
    check_models(settings)
    check_destinations(settings)
    for note in _notes(settings, online=online):
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"settings are valid: {len(settings.rules)} rule(s), {len(settings.destinations)} destination(s)")
    failed = _ask_everyone(settings) if online else 0
    if path is not None:
        _explain(path, settings, calling_ae, None)
    if failed:
        raise typer.Exit(1)


def _notes(settings: Settings, *, online: bool) -> Iterator[str]:
    """What is valid, and may not be meant."""
    if not settings.rules:
        yield "there are no [[rules]]: every series is kept and refused as NOT_ROUTED."
    if not settings.receive.allow and not settings.receive.accept_any_peer:
        yield "receive.allow names no peer: every association is rejected."
    for rule in settings.rules:
        if not rule.enabled:
            yield f"rule {rule.name!r} is disabled: it takes no series."
    for name in sorted(settings.disabled_destinations):
        yield f"destination {name!r} is disabled: new results are not sent to it."
    yield from _hl7v2_notes(settings)
    if not online and (any(peer.expected_count for peer in settings.receive.allow) or settings.destinations):
        yield "no peer was asked: `candela config check --online` asks whether each answers."


def _ask_everyone(settings: Settings) -> int:
    """Print who answers; how many do not."""
    from dicom_node.commands.online import answers

    failed = 0
    for name, said, does in answers(settings):
        typer.echo(f"{name}: {said}" if does else f"{name}: FAILED: {said}")
        failed += not does
    return failed


def _hl7v2_notes(settings: Settings) -> Iterator[str]:
    """What a receiver of HL7 v2 messages may not be able to tell."""
    enabled = {name: item for name, item in settings.destinations.items() if item.enabled}
    for name, item in sorted(enabled.items()):
        if not isinstance(item, Hl7v2Destination):
            continue
        if not item.assigning_authority:
            yield (
                f"destination {name!r}: assigning_authority is empty: a Patient ID whose header names no issuer is "
                "sent without one, and the receiver may take it for another hospital's."
            )
        if settings.time_zone is None:
            yield f"destination {name!r}: time_zone is not set: times of images without a zone are sent without one."


@app.command()
def migrate(
    config_file: ConfigOption = None,
    check: Annotated[bool, typer.Option("--check", help="Print what would change; write nothing.")] = False,
) -> None:
    """Rewrite a settings file of version 0.1 into the present form; the old one stays beside it as NAME.old.

    With --check, exit code 1 says that there is something to rewrite.
    """
    from dicom_node.commands.migrate import run

    if not run(config_file or DEFAULT_FILE, only_check=check):
        raise typer.Exit(1)


@app.command()
def jwks(
    destination: Annotated[
        str, typer.Argument(help="Name of a FHIR destination with a [destinations.NAME.smart] table.")
    ],
    config_file: ConfigOption = None,
) -> None:
    """Print the public key of a FHIR destination as a JWK set, as its server's administrator registers it."""
    from dicom_node.deliver.fhir import signing_key

    found = load_settings(config_file).destinations.get(destination)
    if not isinstance(found, FhirDestination) or found.smart is None:
        raise typer.BadParameter(
            f"{destination!r} is not a FHIR destination with a smart table", param_hint="DESTINATION"
        )
    typer.echo(json.dumps({"keys": [signing_key(found.smart).public_jwk]}, indent=2))


@app.command()
def explain(
    path: Annotated[Path, typer.Argument(help="A series or study: a folder, a zip archive or a DICOM file.")],
    calling_ae: CallingOption = "",
    called_ae: CalledOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Show rule by rule, condition by condition, where each series at PATH goes and why. Exit code 3: nowhere."""
    settings = load_settings(config_file)
    check_models(settings)
    _explain(path, settings, calling_ae, called_ae)


def _explain(path: Path, settings: Settings, calling_ae: str, called_ae: str | None) -> None:
    if not path.exists():
        raise typer.BadParameter(f"there is nothing at {path}", param_hint="PATH")
    out = console()
    taken: list[tuple[Rule, FolderSeries, Candidate]] = []
    found = find_series(path)
    for series in found:
        candidate = series.candidate(calling_ae, settings.receive.ae_title if called_ae is None else called_ae)
        kind = f"{candidate.attributes.modality or 'no modality'}, {candidate.attributes.number_of_slices} slice(s)"
        out.print(f"[bold]series {escape(series.series_instance_uid)}[/] ({escape(kind)})", soft_wrap=True)
        if is_own_result(series.header):
            out.print("  [dim]Candela made it: kept, and never processed, whatever the rules say[/]\n")
            continue
        routing = judge(settings.rules, candidate.attributes, settings.routing.match)
        _print_rules(out, routing)
        _print_outcome(out, routing, settings)
        taken += [(rule, series, candidate) for rule in routing.taken]
    for model in sorted({rule.model for rule, _, _ in taken if rule.per_study}):
        of_it = [(series, item) for rule, series, item in taken if rule.per_study and rule.model == model]
        _print_choice(out, model, of_it, settings)
    if not taken:
        raise NotRouted(
            f"No rule takes any of the {len(found)} series." if len(found) > 1 else "No rule takes this series.",
            where=str(path),
            todo="Add a [[rules]] table for it to candela.toml.",
        )


def _print_rules(out: Console, routing: Routing) -> None:
    table = Table("rule", "condition", "wanted", "found", "holds", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for verdict in routing.verdicts:
        name = escape(verdict.rule.name)
        if not verdict.checks:
            table.add_row(name, "none: takes every series", "", "", _mark(holds=True))
        for check_ in verdict.checks:
            row = (name, check_.condition, check_.wanted, check_.found)
            table.add_row(*(row[0], *map(escape, row[1:])), _mark(holds=check_.holds))
            name = ""
        table.add_row("", _verdict(verdict), "", "", "")
    if routing.verdicts:
        out.print(table)


def _verdict(verdict: Verdict) -> str:
    if verdict.taken:
        return "[green]takes it[/]"
    if not verdict.rule.enabled:
        return "[dim]is disabled: takes no series[/]"
    if verdict.overruled is not None:
        return f"[dim]would take it, but rule {escape(repr(verdict.overruled))} decided before[/]"
    return "[yellow]does not take it[/]"


def _mark(*, holds: bool) -> str:
    return "[green]yes[/]" if holds else "[red]no[/]"


def _print_outcome(out: Console, routing: Routing, settings: Settings) -> None:
    for rule in routing.taken:
        goes = ", ".join(settings.destinations_of(rule)) or "nowhere"
        when = "chosen among the series of its study" if rule.per_study else "as soon as it is complete"
        disabled = settings.disabled_of(rule)
        left_out = f" (disabled, gets nothing: {', '.join(disabled)})" if disabled else ""
        line = f"→ model {rule.model}, {when}; results to {goes}{left_out}; {settings.priority_of(rule)}"
        out.print(f"  {escape(line)}\n", soft_wrap=True)
    if not routing.taken:
        out.print("  → no rule takes it: kept, and its job ends as refused (NOT_ROUTED)\n", soft_wrap=True)


def _print_choice(out: Console, model: str, found: list[tuple[FolderSeries, Candidate]], settings: Settings) -> None:
    entry = registry.get(model, settings.models.folders)
    out.print(f"[bold]the choice for model {escape(model)}[/], had these series come together", soft_wrap=True)
    if entry.channel_names:
        _print_channels(out, entry, [series for series, _ in found])
        return
    choice = choose([candidate for _, candidate in found], entry.takes)
    if choice.chosen is not None:
        chosen = f"series {choice.chosen.series_instance_uid}: {choice.reason}"
        out.print(f"  [green]read[/]        {escape(chosen)}", soft_wrap=True)
    for item in choice.passed_over:
        reason = f"series {item.candidate.series_instance_uid}: {item.reason}"
        out.print(f"  [dim]not chosen[/]  {escape(reason)}", soft_wrap=True)
    out.print()


def _print_channels(out: Console, entry: RegisteredModel, found: list[FolderSeries]) -> None:
    try:
        choices = choices_of(found, entry)
    except Refused as refusal:
        out.print(f"  [yellow]refused[/]     {escape(f'{refusal.code}: {refusal}')}\n", soft_wrap=True)
        return
    for choice in choices:
        chosen = f"channel {choice.channel.name} is series {choice.candidate.series_instance_uid}: {choice.reason}"
        out.print(f"  [green]read[/]        {escape(chosen)}", soft_wrap=True)
    read = {choice.candidate.series_instance_uid for choice in choices}
    for item in found:
        if item.series_instance_uid not in read:
            out.print(
                f"  [dim]not chosen[/]  series {escape(item.series_instance_uid)} fills no channel", soft_wrap=True
            )
    out.print()
