"""The command line: `candela`.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 refused (the reason is on stderr).
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from dicom_node.commands.common import REFUSED, ConfigOption, load_settings
from dicom_node.observability import log as observability
from dicom_node.start_up import without_collection
from pipeline.errors import BadSettings, CandelaError, Refused
from pipeline.results.profile import DEFAULT_PRESET

USAGE = 2

LATER = {
    "echo": "dicom:echo",
    "send": "dicom:send",
    "find": "fetch:find",
    "fetch": "fetch:fetch",
    "status": "jobs:status",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "jobs": "jobs:app",
    "results": "results:app",
    "destinations": "destinations:app",
    "errors": "errors:errors",
    "models": "models:app",
    "config": "config:app",
    "audit": "audit:app",
    "notify": "notify:app",
    "web": "web:app",
}
"""Commands of `dicom_node.commands`, each with its module and name there."""


class Commands(TyperGroup):
    """The commands. Those of `LATER` are imported on use, so that a refusal need not wait for a database."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *LATER]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in LATER:
            return super().get_command(ctx, cmd_name)
        module, name = LATER[cmd_name].split(":")
        found = getattr(import_module(f"dicom_node.commands.{module}"), name)
        if isinstance(found, typer.Typer):
            made: Any = typer.main.get_group(found)
        else:
            alone = typer.Typer(add_completion=False, **LOOKS)
            alone.command(cmd_name)(found)
            made = typer.main.get_command(alone)
        made.name = cmd_name
        return made


LOOKS: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(
    name="candela",
    cls=Commands,
    help="A DICOM-native AI node: series in by C-STORE, overlays, SEG, SR and FHIR reports out.",
    no_args_is_help=True,
    **LOOKS,
)


@app.command()
def process(
    path: Annotated[Path, typer.Argument(help="One series, or a study: a folder, a zip archive or a DICOM file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results (created where missing).")],
    model: Annotated[str | None, typer.Option(help="Model to run; default: the one that the rules choose.")] = None,
    series: Annotated[str | None, typer.Option(help="Series Instance UID to read, of several at PATH.")] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Read the series of a study at PATH that suits the model best.")
    ] = False,
    nifti: Annotated[bool, typer.Option("--nifti", help="Also write volume, mask and heat map as NIfTI.")] = False,
    profile: Annotated[
        str, typer.Option(help="Which objects, in which form: a preset or a profile of candela.toml.")
    ] = DEFAULT_PRESET,
    refusal_page: Annotated[
        bool, typer.Option("--refusal-page", help="Write a refusal also as a DICOM image with the reason.")
    ] = False,
    identity: Annotated[
        str | None,
        typer.Option(
            help="Where the images do not name one patient: the SOP Instance UID of an image that names the right one."
        ),
    ] = None,
    began: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z"],
            help="The instant that the results state, with its offset; default: now. With the instant of an earlier run"
            " (`began` in its summary.json) they are the same objects.",
        ),
    ] = None,
    config_file: ConfigOption = None,
) -> None:
    """Read one series and write its results to a folder, without network."""
    with without_collection():
        from dicom_node.inference.process_path import process_path
        from dicom_node.inference.study_folder import Pick

    settings = load_settings(config_file)
    console = Console(stderr=True)
    start = time.monotonic()
    if not path.exists():
        raise typer.BadParameter(f"there is nothing at {path}", param_hint="PATH")
    with console.status("reading ...") as status:
        summary = process_path(
            path,
            out,
            settings,
            model=model,
            nifti=nifti,
            profile=profile,
            with_page=refusal_page,
            pick=Pick(series, best, identity_chosen=identity is not None),
            identity_from=identity,
            began=began,
            progress=lambda stage: status.update(f"{stage} ..."),
        )
    if summary["outcome"] == "refused":
        console.print(f"refused ({summary['code']}): {summary['reason']}", style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED)
    for item in summary.get("channels", ()):
        image = f"image {item['sop_instance_uid']} of " if "sop_instance_uid" in item else ""
        why = f": {item['reason']}" if "reason" in item else ""
        typer.echo(f"Channel {item['channel']} is {image}series {item['series_instance_uid']}{why}.")
    console.print(
        f"{summary['outcome']}: {summary['statement']}"
        f" {len(summary['objects'])} DICOM objects in {out} ({time.monotonic() - start:.1f} s)."
        f" {summary['disclaimer']}",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def serve(config_file: ConfigOption = None) -> None:
    """Run every role on this machine: receiver, inference worker, delivery worker."""
    from dicom_node.node.roles import serve as run

    raise typer.Exit(run(load_settings(config_file), config_file))


@app.command()
def receiver(config_file: ConfigOption = None) -> None:
    """Run only the receiver: receive series, detect their completion, queue their jobs."""
    from dicom_node.node.roles import receive as run

    raise typer.Exit(run(load_settings(config_file), config_file))


@app.command()
def worker(
    queues: Annotated[str, typer.Option(help="Comma-separated: infer, deliver.")] = "infer,deliver",
    config_file: ConfigOption = None,
) -> None:
    """Run only a worker: inference, deliveries or both."""
    from dicom_node.node.roles import work as run

    names = tuple(name.strip() for name in queues.split(",") if name.strip())
    unknown = set(names) - {"infer", "deliver"}
    if unknown or not names:
        raise typer.BadParameter(f"queues are infer and deliver, not {queues!r}", param_hint="--queues")
    raise typer.Exit(run(load_settings(config_file), names))


def main() -> None:
    """Entry point of the console script: typed errors become one line on stderr and an exit code, never a trace."""
    observability.configure()
    try:
        app()
    except Refused as error:
        _fail(error, REFUSED)
    except BadSettings as error:
        _fail(error, USAGE)
    except CandelaError as error:
        _fail(error, 1)


def _fail(error: CandelaError, code: int) -> None:
    sys.stderr.write(f"candela: {error.code}: {error}\n")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
