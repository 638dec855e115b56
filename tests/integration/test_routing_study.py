"""A study comes to the receiver as a scanner sends it, and the brain model is given the one series that suits it best.

The receiver runs as `candela receiver` in a process of its own; no worker reads the jobs that it makes.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RawDataStorage

from dicom_node.jobs import engine
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.status import JobDetail, JobState
from dicom_node.settings.tree import load
from pipeline import phantom
from pipeline.findings.identity import derived_uid
from tests import shapes
from tests.conftest import ROOT
from tests.peers.dcmtk import require_dcmtk, storescu
from tests.peers.ports import free_port
from tests.peers.receiver import send
from tests.peers.study import Series, brain_study, series, uid_of

PATIENCE = 240.0
"""Seconds: a process that starts beside others on a small machine takes its time."""


class Receiver:
    """`candela receiver` in ``folder``; `start`, `kill` and `stop` may follow each other."""

    def __init__(self, folder: Path, *, study_quiet: float) -> None:
        self.folder, self.port = folder, free_port()
        self.config, self.log = folder / "candela.toml", folder / "receiver.log"
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(study_quiet)
        self.settings = load(self.config)
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, study_quiet: float) -> None:
        self.config.write_text(f"""
data_dir = "{self.folder / "data"}"
[receive]
port = {self.port}
accept_any_peer = true
[completion]
quiet_after_release = 0.5
quiet_time = 30
plausible_part = 1
negative_hold = 0.5
study_quiet = {study_quiet}
[[rules]]
name = "brain MRI"
when = {{modality = "MR", body_part = "BRAIN"}}
model = "brain_mri_tumor"
per_study = true
""")

    def start(self) -> None:
        engine.prepare(self.settings)
        command = [sys.executable, "-m", "dicom_node.cli", "receiver", "--config", str(self.config)]
        with self.log.open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)
        self.until(self._listens, "the receiver listens")

    def kill(self) -> None:
        """kill -9"""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    def jobs(self) -> dict[str, list[JobDetail]]:
        """The jobs by series, the oldest first."""
        found: dict[str, list[JobDetail]] = {}
        with JobsClient(self.settings) as client:
            for job in reversed(client.list(limit=100)):
                found.setdefault(job.job.series_instance_uid, []).append(job)
        return found

    def waiting(self) -> list[str]:
        """Series that are noted for a choice."""
        return [path.stem for path in self.settings.studies_dir.glob("*/*.json")]

    def until(self, holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert self._process is None or self._process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.log.read_text()[-3000:]}"
            time.sleep(0.2)

    def candela(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dicom_node.cli", *arguments, "--config", str(self.config)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=environment, check=False)

    def _listens(self) -> bool:
        import socket

        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    require_dcmtk()
    made = Receiver(tmp_path / "node", study_quiet=2.0)
    made.start()
    yield made
    made.stop()


def interleaved(study: dict[str, Series]) -> list[Dataset]:
    """The study's instances, a slice of each series in turn."""
    longest = max(map(len, study.values()))
    return [made[index] for index in range(longest) for made in study.values() if index < len(made)]


def send_parts(port: int, datasets: Sequence[Dataset], parts: int, folder: Path) -> None:
    """Send ``datasets`` by storescu over ``parts`` associations at once, each with every so manieth instance."""
    groups = [phantom.save(datasets[part::parts], folder / f"{part}") for part in range(parts)]
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda files=files: answers.append(storescu(files, port).returncode))
        for files in groups
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0] * parts


def states(jobs: dict[str, list[JobDetail]], study: dict[str, Series]) -> dict[str, list[str]]:
    return {name: [str(job.state) for job in jobs.get(uid_of(made), [])] for name, made in study.items()}


DECIDED = {
    "localizer": ["queued"],  # a record of NOT_ROUTED, which a worker will write down
    "t2": ["not_chosen"],
    "t1": ["not_chosen"],
    "t1c": ["queued"],
    "t1c_sag": ["not_chosen"],
}


def raw_data(source: Dataset) -> Dataset:
    """A Raw Data object without InstanceNumber in the series of ``source``, as Philips sends them."""
    made = Dataset()
    made.file_meta = copy.deepcopy(source.file_meta)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName", "Modality"):
        setattr(made, keyword, source[keyword].value)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = RawDataStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = derived_uid("raw", source.SOPInstanceUID)
    return made


def test_enhanced_objects_and_series_with_raw_data_are_routed_by_their_images(
    receiver: Receiver, tmp_path: Path
) -> None:
    """Sent by storescu: the body part lies in functional groups, or is not in the object that came first."""
    frames, slices = (phantom.head_phantom(slices=6, matrix=32, header=phantom.Header(key=key)) for key in ("e", "r"))
    sent = [shapes.enhanced(frames), raw_data(frames[0]), raw_data(slices[0]), *slices]
    send_parts(receiver.port, sent, 1, tmp_path / "out")
    receiver.until(lambda: len(receiver.jobs()) == 2, "two jobs")
    found = {name: [(job.job.rule, job.job.refusal) for job in jobs] for name, jobs in receiver.jobs().items()}
    assert found == {uid_of(frames): [("brain MRI", None)], uid_of(slices): [("brain MRI", None)]}


def test_of_an_interleaved_study_one_series_is_read(receiver: Receiver, tmp_path: Path) -> None:
    """Three associations at once, slices of all series mixed: one job for the model, on the axial T1 with contrast."""
    study = brain_study()
    send_parts(receiver.port, interleaved(study), 3, tmp_path / "out")
    receiver.until(lambda: len(receiver.jobs()) == 5, "five jobs")
    jobs = receiver.jobs()
    assert states(jobs, study) == DECIDED
    read = [job for found in jobs.values() for job in found if job.job.model]
    assert [(job.job.series_instance_uid, job.job.instances) for job in read] == [(uid_of(study["t1c"]), 6)]
    assert read[0].job.selection == "suits the model best of 4 series, by plane: axial"
    (localizer,) = jobs[uid_of(study["localizer"])]
    assert localizer.job.refusal_code == "NOT_ROUTED"
    assert "it is a localiser" in str(localizer.job.refusal)
    for name, reason in {"t2": "T2-weighted", "t1": "by contrast agent", "t1c_sag": "axial against sagittal"}.items():
        (job,) = jobs[uid_of(study[name])]
        assert job.outcome is None
        assert job.dead_letters == 0
        assert reason in str(job.job.refusal)
    shown = receiver.candela("jobs", "list").stdout
    assert shown.count("not_chosen") == 3
    detail = receiver.candela("jobs", "show", jobs[uid_of(study["t1"])][0].job.job_id).stdout
    assert "NOT_CHOSEN" not in detail  # words for people
    assert f"series {uid_of(study['t1c'])} suits the model better, by contrast agent" in " ".join(detail.split())
    assert "3 not_chosen" in receiver.candela("status").stdout
    log = receiver.log.read_text()
    assert uid_of(study["t1"]) not in log
    assert "POST" not in log


@pytest.mark.nightly
def test_kill_9_before_and_after_the_choice_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Killed with every series complete and the study not yet quiet; and again when the choice is made."""
    require_dcmtk()
    receiver = Receiver(tmp_path / "node", study_quiet=3600)
    receiver.start()
    study = brain_study("killed")
    send_parts(receiver.port, interleaved(study), 2, tmp_path / "out")
    receiver.until(lambda: len(receiver.waiting()) == 4, "four series await the choice")
    receiver.until(lambda: len(receiver.jobs()) == 1, "the localiser is recorded")
    receiver.kill()
    receiver.configure(study_quiet=1.0)
    receiver.start()
    receiver.until(lambda: len(receiver.jobs()) == 5, "the choice is made")
    receiver.kill()
    receiver.start()
    send(receiver.port, interleaved(study))  # the sender, unsure, sends all of it again
    later = series("later", "t1c", "T1 POST", number=1)
    send(receiver.port, later)
    receiver.until(lambda: uid_of(later) in receiver.jobs(), "a series that came later is chosen")
    receiver.stop()
    assert states(receiver.jobs(), study) == DECIDED


def test_a_better_series_that_comes_late_is_read_too(receiver: Receiver) -> None:
    """And one that is worse is recorded; what was decided before stays as it was."""
    study = brain_study("late")
    send(receiver.port, study["t1"])
    receiver.until(lambda: len(receiver.jobs()) == 1, "the first choice")
    assert states(receiver.jobs(), study)["t1"] == ["queued"]
    send(receiver.port, (*study["t1c"], *study["t2"]))
    receiver.until(lambda: len(receiver.jobs()) == 3, "the second choice")
    jobs = receiver.jobs()
    assert jobs[uid_of(study["t1"])][0].job.model  # keeps the job that it was given
    assert jobs[uid_of(study["t1c"])][0].job.model
    assert "by contrast agent" in str(jobs[uid_of(study["t1c"])][0].job.selection)
    assert jobs[uid_of(study["t2"])][0].state is JobState.NOT_CHOSEN


def test_one_series_alone_is_read_when_the_study_is_quiet(receiver: Receiver) -> None:
    made = series("alone", "t1c", "T1 POST", number=1)
    send(receiver.port, made)
    receiver.until(lambda: len(receiver.jobs()) == 1, "the choice")
    (job,) = receiver.jobs()[uid_of(made)]
    assert job.job.selection == "the study's only series for this model"


def test_explain_shows_beforehand_what_the_node_then_does(tmp_path: Path) -> None:
    """`candela config explain` on the study's export: each condition, the choice, and the exit codes."""
    house = Receiver(tmp_path / "node", study_quiet=1)
    study = brain_study("explained")
    for name, made in study.items():
        phantom.save(made, tmp_path / "study" / name)
    whole = house.candela("config", "explain", str(tmp_path / "study"))
    assert whole.returncode == 0, whole.stderr
    text = " ".join(whole.stdout.split())
    assert f"read series {uid_of(study['t1c'])}: suits the model best of 4 series, by plane: axial" in text
    assert text.count("not chosen series") == 3
    assert "weighting" not in text  # no rule asks for it
    assert "localiser no yes no" in text  # condition, wanted, found, holds
    alone = house.candela("config", "explain", str(tmp_path / "study" / "localizer"))
    assert alone.returncode == 3
    assert "NOT_ROUTED" in alone.stderr
    checked = house.candela("config", "check", str(tmp_path / "study" / "t1"))
    assert checked.returncode == 0
    assert "settings are valid: 1 rule(s)" in checked.stdout
    assert "takes it" in checked.stdout
    nothing = house.candela("config", "explain", str(tmp_path / "nothing"))
    assert nothing.returncode == 2


@pytest.mark.nightly
def test_process_refuses_a_study_with_its_list_or_reads_the_best_of_it(tmp_path: Path) -> None:
    house = Receiver(tmp_path / "node", study_quiet=1)
    study = brain_study("processed")
    for name in ("t2", "t1"):
        phantom.save(study[name], tmp_path / "study" / name)
    mixed = house.candela("process", str(tmp_path / "study"), "--out", str(tmp_path / "mixed"))
    assert mixed.returncode == 3
    assert "--best" in mixed.stderr
    assert uid_of(study["t2"]) in mixed.stderr

    def summary(*arguments: str) -> dict[str, object]:
        out = tmp_path / "-".join(arguments)[-20:]
        house.candela("process", str(tmp_path / "study"), "--out", str(out), *arguments)
        content: dict[str, object] = json.loads((out / "summary.json").read_text())
        return content

    # six slices of 32² may or may not be read as a head: which series was meant is what is tested here
    assert summary("--best")["series_instance_uid"] == uid_of(study["t1"])
    named = summary("--series", uid_of(study["t2"]))
    assert named["series_instance_uid"] == uid_of(study["t2"])
    assert named["code"] == "UNSUPPORTED_PROTOCOL"
    assert summary("--series", "1.2.3")["code"] == "EMPTY_INPUT"
