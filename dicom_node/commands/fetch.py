"""`candela fetch` and `find`: search an archive, and fetch studies into the node or a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicom_node.commands.common import ConfigOption, console, load_settings
from dicom_node.commands.dicom import peer_named, peer_of
from dicom_node.settings.remotes import DicomRemote, DicomWebRemote
from dicom_node.settings.tree import Settings
from pipeline.errors import BadSettings

if TYPE_CHECKING:
    from dicom_node.fetch.fetch import Source
    from dicom_node.fetch.outcome import SeriesOutcome

REMOTE_HELP = "Name of a remote or a peer in candela.toml, or a PACS as AETITLE@HOST:PORT."
RemoteOption = Annotated[str, typer.Option("--from", help=REMOTE_HELP)]
CallingOption = Annotated[str, typer.Option("--calling", help="Our AE title; default: receive.ae_title.")]


def fetch(
    study: Annotated[str, typer.Argument(help="StudyInstanceUID; or use --accession or --patient-id.")] = "",
    *,
    remote: RemoteOption,
    accession: Annotated[str, typer.Option(help="Accession number of the study.")] = "",
    patient_id: Annotated[str, typer.Option("--patient-id", help="Patient ID; must match one study.")] = "",
    series: Annotated[str, typer.Option(help="SeriesInstanceUID: this series only.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: into the running node.")] = None,
    by: Annotated[str, typer.Option("--by", help="auto, get or move; default: the remote's retrieve.")] = "",
    calling: CallingOption = "",
    config_file: ConfigOption = None,
) -> None:
    """Fetch a study from an archive: by C-GET, C-MOVE or WADO-RS, into the running node or a folder.

    Exit code 0: everything that the archive has of the study came; 1: something did not; 3: no study matches, or
    several.
    """
    from dicom_node.fetch.fetch import fetch as run
    from dicom_node.fetch.fetch import find_study
    from dicom_node.fetch.sinks import FolderSink, NodeSink
    from dicom_node.network.found import StudyQuery

    settings = load_settings(config_file)
    target = _with_method(remote_of(remote, settings), by)
    calling = calling or settings.receive.ae_title
    if not (study or accession or patient_id):
        raise typer.BadParameter("give it, or --accession or --patient-id", param_hint="STUDY")
    query = StudyQuery(study, accession, patient_id)
    sink = FolderSink(out) if out is not None else NodeSink(settings.receive, target.ae_title, settings.tls)
    with source_of(target, calling, settings, patient_id) as source:
        uid = study if not (accession or patient_id) else find_study(source, query).study_instance_uid
        outcomes = run(source, uid, sink, series_instance_uid=series, report=_report)
    came = sum(outcome.came for outcome in outcomes)
    typer.echo(f"{came} instance{'' if came == 1 else 's'} of {len(outcomes)} series came into {sink.name}")
    if not all(outcome.whole for outcome in outcomes):
        raise typer.Exit(1)


def find(
    remote: Annotated[str, typer.Argument(help=REMOTE_HELP)],
    study: Annotated[str, typer.Option(help="StudyInstanceUID; its series are listed.")] = "",
    accession: Annotated[str, typer.Option(help="Accession number of the studies to list.")] = "",
    patient_id: Annotated[str, typer.Option("--patient-id", help="Patient ID of the studies to list.")] = "",
    calling: CallingOption = "",
    config_file: ConfigOption = None,
) -> None:
    """List the studies of an archive, or the series of one study, with their numbers. No patient data is shown."""
    from dicom_node.network.found import StudyQuery

    settings = load_settings(config_file)
    target = remote_of(remote, settings)
    query = StudyQuery(study, accession, patient_id)
    with source_of(target, calling or settings.receive.ae_title, settings, patient_id) as source:
        if study:
            table = Table("SeriesInstanceUID", "Modality", "instances")
            for series in source.series(query.study_instance_uid):
                table.add_row(series.series_instance_uid, series.modality, _told(series.instances))
        else:
            table = Table("StudyInstanceUID", "StudyDate", "modalities", "series", "instances")
            for found in source.studies(query):
                numbers = (_told(found.series), _told(found.instances))
                table.add_row(found.study_instance_uid, found.study_date, ", ".join(found.modalities), *numbers)
    console().print(table)


def remote_of(text: str, settings: Settings) -> DicomRemote | DicomWebRemote:
    """A remote by its name or its peer's name in the settings, or written as AETITLE@HOST:PORT.

    Raises
    ------
    BadSettings
        where the settings have no such remote or peer.
    """
    if text in settings.remotes:
        return settings.remotes[text]
    if "@" in text:
        return DicomRemote(kind="dicom", peer=peer_of(text))
    if text in settings.peers:
        return DicomRemote(kind="dicom", peer=peer_named(text, settings))
    known = ", ".join([*settings.remotes, *settings.peers]) or "none"
    raise BadSettings(
        f"There is no remote or peer {text!r} (known: {known}).", todo="Name it in [remotes.NAME] or [peers.NAME]."
    )


@contextmanager
def source_of(
    remote: DicomRemote | DicomWebRemote, calling: str, settings: Settings, patient_id: str = ""
) -> Iterator[Source]:
    """The archive ``remote``, which we call as ``calling``."""
    if isinstance(remote, DicomWebRemote):
        from dicom_node.fetch.dicomweb import DicomWebSource

        with DicomWebSource(remote) as source:
            yield source
        return
    from dicom_node.fetch.dimse import DimseSource

    def held(series_instance_uid: str) -> int | None:
        """Number of distinct instances of the series in this node's store; None where this machine has no store."""
        if not settings.store_dir.is_dir():
            return None
        files = (settings.store_dir / series_instance_uid).glob("*.dcm")
        return len({file.stem.partition("~")[0] for file in files})

    yield DimseSource(remote, calling, settings.receive.ae_title, patient_id=patient_id, held=held)


def _with_method(remote: DicomRemote | DicomWebRemote, by: str) -> DicomRemote | DicomWebRemote:
    if not by:
        return remote
    if by not in ("auto", "get", "move") or isinstance(remote, DicomWebRemote):
        raise typer.BadParameter("it is auto, get or move, for a remote of kind dicom", param_hint="--by")
    return remote.model_copy(update={"retrieve": by})


def _report(outcome: SeriesOutcome) -> None:
    """Print one line for each series on stdout, and one for each failure on stderr."""
    of = f" of {outcome.expected}" if outcome.expected is not None else ""
    line = f"{outcome.series_instance_uid} {outcome.modality or '-'}: {outcome.came}{of} by {outcome.method}"
    if outcome.warned:
        line += f", {outcome.warned} with warnings"
    if outcome.failed:
        line += f", {outcome.failed} failed"
    typer.echo(line)
    reasons = outcome.reasons or (() if outcome.whole else ("fewer came than the archive states",))
    for reason in reasons:
        typer.echo(f"  {reason}", err=True)
    for name in outcome.failed_uids[:20]:
        typer.echo(f"  failed: {name}", err=True)
    if len(outcome.failed_uids) > 20:
        typer.echo(f"  and {len(outcome.failed_uids) - 20} more", err=True)


def _told(number: int | None) -> str:
    return "" if number is None else str(number)
