"""A worker process with a reader of series that does as the job's rule says: the engine is tested, not the model.

Run as ``python -m tests.peers.engine_worker CONFIG QUEUES``. Every begin and end of a reading is a line in
``<data_dir>/effects``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import ResultRef, SeriesResult
from dicom_node.jobs.worker import run_worker
from dicom_node.settings import tree as node_settings
from dicom_node.settings.tree import Settings
from pipeline.errors import PeerBusy
from pipeline.findings.identity import derived_uid
from pipeline.findings.model import Outcome
from pipeline.report.stored import FILENAME, to_json
from tests.peers.hl7v2 import content_of

OUTCOMES = {"negative": Outcome.NO_FINDING, "uncertain": Outcome.INDETERMINATE}


def capture(path: Path, *, sop_instance_uid: str, series_instance_uid: str) -> Path:
    """A small valid Secondary Capture file at ``path``."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = sop_instance_uid
    ds.StudyInstanceUID = derived_uid("study", series_instance_uid)
    ds.SeriesInstanceUID = series_instance_uid
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = "Prüfung^Ärztin"
    ds.PatientID = "P1"
    ds.Modality = "OT"
    ds.ConversionType = "SYN"
    ds.InstanceNumber = 1
    ds.Rows = ds.Columns = 8
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = np.arange(64, dtype=np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def results(settings: Settings, job: SeriesJob) -> tuple[ResultRef, ...]:
    """Two overlays, a report, a Bundle and findings, written under deterministic names and UIDs."""
    folder = settings.results_dir / job.job_id.replace(":", "-")

    def made(name: str) -> str:
        path = folder / f"{name}.dcm"
        temporary = capture(
            path.with_suffix(".tmp"),
            sop_instance_uid=derived_uid(job.job_id, name),
            series_instance_uid=derived_uid(job.job_id, "series"),
        )
        temporary.replace(path)
        return str(path.relative_to(settings.data_dir))

    overlay = ResultRef("overlay", "dicom", (made("overlay-1"), made("overlay-2")))
    report = ResultRef("report", "dicom", (made("report"),))
    (folder / "fhir-bundle.json").write_text(json.dumps({"resourceType": "Bundle", "type": "transaction"}))
    (folder / FILENAME).write_bytes(to_json(content_of(job.job_id[-4:])))
    hl7v2 = ResultRef("hl7v2-report", "hl7v2", (str(folder / FILENAME),))
    content = FILENAME if job.rule == "reported" else "fhir-bundle.json"
    return overlay, report, ResultRef("fhir-bundle", "fhir", (str(folder / content),)), hl7v2


class ScriptedReader:
    """Reads a series as its rule says.

    ``plain``: at once. ``reported``: at once, with the report content for FHIR. ``slow``: until the file
    ``<data_dir>/go`` exists. ``refuse``: as a value. ``flaky``: a peer is busy twice. ``negative``, ``uncertain``: at
    once, and no finding. ``busy``: always. ``broken``: an unforeseen error whose message holds a name. ``crash``: takes
    the process down.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._effects = settings.data_dir / "effects"

    def __call__(self, job: SeriesJob) -> SeriesResult:
        self._note("begin", job)
        if job.rule == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if job.rule == "broken":
            raise LookupError("Prüfung^Ärztin"[::-1])
        if job.rule == "busy" or (job.rule == "flaky" and self._begun(job) < 3):
            raise PeerBusy("The disk server asks for patience.")
        while job.rule == "slow" and not (self._settings.data_dir / "go").exists():
            time.sleep(0.05)
        if job.rule == "refuse":
            return SeriesResult(Outcome.REFUSED, refusal_code="MISSING_SLICES", refusal="Slices 3 to 5 are missing.")
        written = results(self._settings, job)
        self._note("end", job)
        outcome = OUTCOMES.get(str(job.rule), Outcome.FINDING)
        return SeriesResult(outcome, summary="summary.json", results=written)

    def _note(self, what: str, job: SeriesJob) -> None:
        with self._effects.open("a") as file:
            file.write(f"{what} {job.job_id} {os.getpid()}\n")

    def _begun(self, job: SeriesJob) -> int:
        return sum(line.startswith(f"begin {job.job_id} ") for line in self._effects.read_text().splitlines())


def main(config: str, queues: str) -> None:
    settings = node_settings.load(Path(config))
    names = tuple(queues.split(","))
    run_worker(settings, names, run_series=ScriptedReader(settings) if "infer" in names else None, stop_within=2)


def forked(config: str, queues: str, log: str) -> None:
    """`main` in a process that was forked, its standard output and standard error appended to ``log``."""
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(written, 1)
    os.dup2(written, 2)
    main(config, queues)


if __name__ == "__main__":
    main(*sys.argv[1:])
