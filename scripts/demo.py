"""The demo: a series goes from Orthanc to Candela by C-STORE, and its results come back. Run it as scripts/demo."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.markup import escape  # noqa: E402

from dicom_node.deliver.dimse import DimseSender  # noqa: E402
from dicom_node.jobs import engine  # noqa: E402
from dicom_node.jobs.client import JobsClient  # noqa: E402
from dicom_node.jobs.status import DeliveryState, JobDetail, JobState  # noqa: E402
from dicom_node.observability.log import configure  # noqa: E402
from dicom_node.settings.destinations import DicomDestination  # noqa: E402
from dicom_node.settings.peers import DicomPeer  # noqa: E402
from dicom_node.settings.tree import Settings, load  # noqa: E402
from orthanc.local import PLUGINS, LocalOrthanc, missing_packages  # noqa: E402
from pipeline import phantom  # noqa: E402
from pipeline.errors import CandelaError  # noqa: E402
from pipeline.reading.files import Series, read_path  # noqa: E402
from tools import fhir_server, ohif  # noqa: E402

OVER = (JobState.DONE, JobState.DEAD, JobState.CANCELLED, JobState.DISCARDED, JobState.SUPERSEDED)
ORTHANCS_VIEWER = PLUGINS / "libOrthancWebViewer.so"
IN_ORTHANCS_VIEWER = {"MR", "OT"}
"""Modalities that it shows: images. See docs/viewers.md."""
console = Console(highlight=False)


def main() -> int:
    arguments = _arguments()
    configure()
    out: Path = arguments.out.resolve()
    if out.exists() and any(out.iterdir()):
        if not (out / "candela.toml").is_file():
            console.print(f"{out} holds other files; give --out an empty folder")
            return 2
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        series, files = _series(arguments.series, out)
    except (CandelaError, FileNotFoundError) as error:
        console.print(f"[red]the series cannot be read:[/] {escape(str(error))}", soft_wrap=True)
        return 3
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is then stopped
    with contextlib.ExitStack() as stack:
        orthanc, fhir_url, settings = _start_everything(stack, out)
        start = time.monotonic()
        _send(series, files, orthanc, settings)
        detail = _follow(settings, str(series.header.SeriesInstanceUID), start)
        _show(detail, series, orthanc, fhir_url)
        if arguments.viewer:
            _start_viewer(stack, out, orthanc, str(series.header.StudyInstanceUID))
        console.print(f"Dashboard: {settings.web.address}/studies/{series.header.StudyInstanceUID}", soft_wrap=True)
        if arguments.keep or arguments.viewer:
            _keep(settings, orthanc)
        else:
            console.print("           gone with this demo; scripts/demo --keep leaves it running")
    return 0 if detail.state is JobState.DONE else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--series", type=Path, help="your own series: a folder or zip (default: a computed phantom)")
    parser.add_argument("--out", type=Path, default=ROOT / "candela-demo", help="where everything is kept")
    parser.add_argument("--keep", action="store_true", help="leave Orthanc, the FHIR server and the node running")
    parser.add_argument("--viewer", action="store_true", help="the same, and the study in OHIF and in Orthanc's viewer")
    return parser.parse_args()


def _series(path: Path | None, out: Path) -> tuple[Series, list[Path]]:
    """The series to send, and its files."""
    if path is None:
        _step("The series", "a computed head [bold]phantom[/] with a bright lesion, 24 slices: no patient")
        files = phantom.save(phantom.head_phantom(), out / "series")
        return read_path(out / "series"), files
    series = read_path(path)
    _step("The series", f"{len(series.datasets)} instances from {path}")
    return series, phantom.save(series.datasets, out / "series")


def _start_everything(stack: contextlib.ExitStack, out: Path) -> tuple[LocalOrthanc | None, str | None, Settings]:
    node, http, dicom, fhir, web = _free_ports(5)
    lacking = missing_packages()
    orthanc = None
    if lacking:
        _step("Orthanc", f"not here (needs {' '.join(lacking)}): the demo sends by itself, results go to a folder")
    else:
        orthanc = stack.enter_context(LocalOrthanc(out / "orthanc", http, dicom, candela_port=node))
        _step("Orthanc", f"runs at {orthanc.url}, DICOM port {dicom}")
    fhir_url = _start_fhir(stack, fhir, out)
    settings_file = out / "candela.toml"
    settings_file.write_text(_settings_text(out, node, orthanc, fhir_url, web))
    settings = load(settings_file)
    engine.prepare(settings)
    log = stack.enter_context((out / "candela.log").open("wb"))
    command = [sys.executable, "-m", "dicom_node.cli", "serve", "--config", str(settings_file)]
    stack.enter_context(_running(subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)))
    _wait_for_port(node)
    _wait_for_port(web)
    _step("Candela", f"`candela serve` listens as CANDELA on port {node}; settings {settings_file}, log {log.name}")
    _step("Dashboard", f"{settings.web.address} shows what follows, live")
    return orthanc, fhir_url, settings


def _start_fhir(stack: contextlib.ExitStack, port: int, out: Path) -> str | None:
    """Start a FHIR R4 server, if Node.js and its packages are installed."""
    if shutil.which("node") is None or not (fhir_server.FOLDER / "node_modules").is_dir():
        _step("FHIR server", "not here (needs Node.js and npm): the report stays a file")
        return None
    log = stack.enter_context((out / "fhir.log").open("wb"))
    command = [sys.executable, "-m", "tools.fhir_server", "--port", str(port)]
    stack.enter_context(_running(subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)))
    _wait_for_port(port)
    url = f"http://127.0.0.1:{port}/fhir/R4"
    _step("FHIR server", f"an R4 server (in memory) runs at {url}")
    return url


def _start_viewer(stack: contextlib.ExitStack, out: Path, orthanc: LocalOrthanc | None, study: str) -> None:
    """Print the addresses of the study in Orthanc's viewer and in OHIF; install OHIF where it is
    missing, and start it.
    """
    console.rule("the study in a viewer")
    if orthanc is None:
        console.print("the viewers show what is in Orthanc, which is not here")
        return
    with orthanc.client() as client:
        for item in client.series_of_study(study):
            if item.modality in IN_ORTHANCS_VIEWER and ORTHANCS_VIEWER.exists():
                address = f"{orthanc.url}/web-viewer/app/viewer.html?series={item.orthanc_id}"
                console.print(f"Orthanc's viewer: {address}  {item.description}", soft_wrap=True)
    try:
        with console.status("fetching the OHIF viewer, where it is not here (50 MB) ..."):
            ohif.ensure_installed()
    except ohif.NoOhif as error:
        console.print(f"OHIF: {error}", soft_wrap=True)
        return
    (port,) = _free_ports(1)
    log = stack.enter_context((out / "ohif.log").open("wb"))
    command = [sys.executable, "-m", "tools.ohif", "--orthanc", orthanc.url, "--port", str(port)]
    stack.enter_context(_running(subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)))
    _wait_for_port(port)
    console.print(f"OHIF: http://127.0.0.1:{port}/viewer?StudyInstanceUIDs={study}", soft_wrap=True)
    console.print("      double-click a series at the left; Yes loads the segmentation over the images", soft_wrap=True)


def _settings_text(out: Path, port: int, orthanc: LocalOrthanc | None, fhir_url: str | None, web: int) -> str:
    sender = 'ae_title = "DEMO"'
    destinations = {"folder": f'kind = "folder"\npath = "{out / "delivered"}"'}
    if orthanc:
        sender = (
            f'ae_title = "{orthanc.ae_title}"\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\n'
            f'expected_count = {{kind = "orthanc", url = "{orthanc.url}"}}'
        )
        destinations["pacs"] = 'kind = "dicom"\npeer = "sender"\nprofile = "orthanc-ohif"'
    if fhir_url:
        destinations["ehr"] = f'kind = "fhir"\nurl = "{fhir_url}"'
    tables = "\n".join(f"[destinations.{name}]\n{text}\n" for name, text in destinations.items())
    return f"""data_dir = "{out / "data"}"

[peers.sender]
{sender}

[receive]
port = {port}
allow = ["sender"]

[completion]
quiet_after_release = 1.0

[web]
enabled = true
port = {web}
demo = true

{tables}
[[rules]]
name = "brain MRI"
when = {{modality = ["MR"]}}
model = "brain_mri_tumor"
destinations = {json.dumps(list(destinations))}
"""


def _send(series: Series, files: list[Path], orthanc: LocalOrthanc | None, settings: Settings) -> None:
    if orthanc is None:
        node = settings.receive
        target = DicomDestination(kind="dicom", peer=DicomPeer(ae_title=node.ae_title, host=node.host, port=node.port))
        _step("Sending", f"C-STORE of {len(files)} instances to Candela")
        DimseSender(target, "DEMO").send(tuple(files))
        return
    with orthanc.client() as client:
        for path in files:
            client.upload(path)
    _step(
        "Sending", f"{len(series.datasets)} instances are in Orthanc; once stable, it sends them to Candela by C-STORE"
    )


def _follow(settings: Settings, series_uid: str, start: float) -> JobDetail:
    """Print what happens to the series until its job has ended."""
    told: set[str] = set()

    def tell(key: str, title: str, text: str) -> None:
        if key not in told:
            told.add(key)
            _step(title, f"{text}  [dim]({time.monotonic() - start:.1f} s)[/]")

    with JobsClient(settings) as client, console.status("waiting for the series ...") as status:
        while True:
            detail = next((row for row in client.list() if row.job.series_instance_uid == series_uid), None)
            if detail is None:
                time.sleep(0.3)
                if time.monotonic() - start > 180:
                    console.print("[red]nothing arrived at Candela within three minutes; see candela.log[/]")
                    raise SystemExit(1)
                continue
            job = detail.job
            tell("complete", "Complete", f"{job.instances} instances; reason: {job.completion}")
            status.update("the model reads ..." if detail.result is None else "delivering ...")
            if detail.result is not None:
                tell("answer", "Answer", _answer(detail))
            for row in detail.deliveries:
                if row.state is DeliveryState.DELIVERED:
                    tell(
                        f"{row.result}>{row.destination}",
                        "Delivered",
                        f"{row.result} → {row.destination}: {row.receipt}",
                    )
            if detail.state in OVER:
                return detail
            time.sleep(0.3)


def _answer(detail: JobDetail) -> str:
    result = detail.result
    assert result is not None
    if result.refusal:
        return f"[yellow]refused ({result.refusal_code})[/]: {escape(result.refusal)}"
    summary = _summary(detail)
    likely = sorted(summary["probabilities"].items(), key=lambda item: -item[1])
    text = f"[bold]{summary['outcome']}[/]: " + ", ".join(f"{name} {share:.0%}" for name, share in likely[:3])
    for lesion in summary["regions"][:3]:
        size = {name: item["value"] for name, item in lesion["measurements"].items()}
        text += f"; {lesion['tracking_id']}: {size['volume'] / 1000:.1f} ml, {size['long_axis']:.0f} mm"
    return f"{text}. {summary['disclaimer']}"


def _show(detail: JobDetail, series: Series, orthanc: LocalOrthanc | None, fhir_url: str | None) -> None:
    """Print where each result is, as the peers themselves report."""
    console.rule("where to look")
    if detail.state is not JobState.DONE:
        _show_failures(detail)
    if orthanc is not None:
        with orthanc.client() as client:
            for item in client.series_of_study(str(series.header.StudyInstanceUID)):
                console.print(f"Orthanc: {item.modality:4} {len(item.instances):4} instances  {item.description}")
    if fhir_url is not None:
        found = httpx.get(f"{fhir_url}/DiagnosticReport", trust_env=False).json()
        for entry in found.get("entry", []):
            report = entry["resource"]
            console.print(f"FHIR: {fhir_url}/DiagnosticReport/{report['id']} ({report['status']})", soft_wrap=True)
            console.print(f"      {report.get('conclusion', '')}", soft_wrap=True, markup=False)
    if detail.result and detail.result.summary:
        folder = Path(detail.result.summary).parent
        console.print(f"Files:   {_short(folder)}", soft_wrap=True)
        pictures = sorted((folder / "previews").glob("*.png"))
        for number, picture in enumerate(pictures[:2]):
            more = f"  [dim](and {len(pictures) - 2} more beside it)[/]" if number and len(pictures) > 2 else ""
            console.print(f"Picture: {_short(picture)}{more}", soft_wrap=True)


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _show_failures(detail: JobDetail) -> None:
    if detail.reading.last_failure:
        console.print(f"[red]reading failed[/]: {escape(detail.reading.last_failure.text)}", soft_wrap=True)
    for row in detail.deliveries:
        if row.tries.last_failure:
            text = escape(row.tries.last_failure.text)
            console.print(f"[red]{row.result} → {row.destination}[/]: {text}", soft_wrap=True)


def _summary(detail: JobDetail) -> dict[str, Any]:
    assert detail.result is not None
    assert detail.result.summary is not None
    content: dict[str, Any] = json.loads(Path(detail.result.summary).read_text())
    return content


def _keep(settings: Settings, orthanc: LocalOrthanc | None) -> None:
    if orthanc:
        console.print(f"Orthanc's pages: {orthanc.url}/app/explorer.html")
    console.print(f"candela jobs list --config {settings.data_dir.parent / 'candela.toml'}", soft_wrap=True)
    console.print("everything keeps running; Ctrl-C stops it")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


@contextlib.contextmanager
def _running(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in sockets]


def _wait_for_port(port: int, within: float = 60) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    console.print(f"[red]nothing listens on port {port}; see the logs[/]")
    raise SystemExit(1)


def _step(title: str, text: str) -> None:
    console.print(f"[bold cyan]{title:>12}[/]  {text}", soft_wrap=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    raise SystemExit(main())
