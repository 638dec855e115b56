"""Several models for one series, and one series of a study for a model: which jobs are made, once, whatever dies."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.completion.dispatch import Dispatch
from dicom_node.completion.rules import CompleteSeries
from dicom_node.jobs.job import SeriesJob
from dicom_node.settings.destinations import FolderDestination
from dicom_node.settings.routing import Defaults
from dicom_node.settings.tree import Settings
from dicom_node.store.manifest import StoredInstance
from models import registry
from pipeline import phantom
from pipeline.errors import BadModel, PeerUnavailable
from pipeline.routing.rules import Rule
from tests.peers.study import Series, brain_study, series, uid_of

MODEL = "brain_mri_tumor"


class House:
    """A dispatch whose jobs are kept in ``jobs`` by id, as the engine would: a job handed in twice is one."""

    def __init__(self, folder: Path, *rules: Rule, match: str = "first", models: tuple[Path, ...] = ()) -> None:
        self.folder = folder
        destination = FolderDestination(kind="folder", path=folder / "out")
        self.settings = Settings.model_validate(
            {
                "data_dir": folder / "data",
                "rules": rules or (Rule(name="brain", model=MODEL, per_study=True),),
                "routing": {"match": match},
                "models": {"folders": models},
                "destinations": {"out": destination},
                "defaults": Defaults(destinations=("out",), priority="stat"),
            }
        )
        self.jobs: dict[str, SeriesJob] = {}
        self.handed_in = 0
        self.die_after: int | None = None
        self.restart()

    def restart(self) -> None:
        self.dispatch = Dispatch(self.settings, self._submit)

    def _submit(self, job: SeriesJob) -> bool:
        if self.die_after is not None and self.handed_in >= self.die_after:
            raise PeerUnavailable("The database does not answer.")
        self.handed_in += 1
        return self.jobs.setdefault(job.job_id, job) is job

    def complete(self, datasets: Series, revision: int = 1) -> CompleteSeries:
        """Store ``datasets`` and hand them over."""
        folder = self.folder / "store" / uid_of(datasets)
        paths = phantom.save(datasets, folder)
        instances = tuple(
            StoredInstance(str(path), str(ds.SOPInstanceUID), hashlib.sha256(path.read_bytes()).hexdigest())
            for path, ds in zip(paths, datasets, strict=True)
        )
        done = CompleteSeries(
            series_instance_uid=uid_of(datasets),
            study_instance_uid=str(datasets[0].StudyInstanceUID),
            revision=revision,
            instances=instances,
            calling_ae="MODALITY",
            reason="quiet",
            completed_at=datetime(2026, 1, 5, 10, 15, tzinfo=UTC),
        )
        self.dispatch(done)
        return done

    def decide(self) -> None:
        for study in tuple(self.dispatch.undecided()):
            self.dispatch.decide(study)

    def read(self) -> dict[str, SeriesJob]:
        """The jobs that a model reads, by series."""
        return {job.series_instance_uid: job for job in self.jobs.values() if job.model}

    def codes(self) -> dict[str, str | None]:
        """Of every other job its refusal, by series."""
        return {job.series_instance_uid: job.refusal_code for job in self.jobs.values() if not job.model}


@pytest.fixture
def study() -> dict[str, Series]:
    return brain_study()


def second_model(folder: Path) -> Path:
    """A folder with a copy of the brain model's bundle under another name and version: another digest."""
    shutil.copytree(registry.get(MODEL).folder, folder / "models" / "second")
    metadata = folder / "models" / "second" / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"version": "', '"version": "9', 1))
    return folder / "models"


def test_one_series_of_the_study_is_read_and_the_others_are_recorded(tmp_path: Path, study: dict[str, Series]) -> None:
    house = House(tmp_path)
    for made in study.values():
        house.complete(made)
    assert list(house.codes().values()) == ["NOT_ROUTED"]  # the localiser: no rule takes it, and it waits for nothing
    house.decide()
    assert list(house.read()) == [uid_of(study["t1c"])]
    (job,) = house.read().values()
    assert job.selection == "suits the model best of 4 series, by plane: axial"
    assert (job.rule, job.destinations, job.priority) == ("brain", ("out",), "stat")
    assert house.codes() == {
        uid_of(study["localizer"]): "NOT_ROUTED",
        **{uid_of(study[name]): "NOT_CHOSEN" for name in ("t2", "t1", "t1c_sag")},
    }
    reasons = {job.series_instance_uid: job.refusal for job in house.jobs.values()}
    assert "T2-weighted" in str(reasons[uid_of(study["t2"])])
    assert uid_of(study["t1c"]) in str(reasons[uid_of(study["t1"])])
    assert all(SeriesJob.from_dict(job.to_dict()) == job for job in house.jobs.values())
    assert not house.dispatch.undecided()


def test_a_job_written_before_there_was_a_choice_is_still_understood() -> None:
    known = {"job_id": "j", "series_instance_uid": "1", "study_instance_uid": "2", "revision": 1, "manifest": "m"}
    known |= {"instances": 1, "calling_ae": "A", "completion": "c", "completed_at": "t", "rule": "r", "model": "m"}
    job = SeriesJob.from_dict({**known, "destinations": [], "priority": "stat", "from_the_future": 1})
    assert job.selection is None


def test_without_per_study_a_series_goes_at_once(tmp_path: Path, study: dict[str, Series]) -> None:
    house = House(tmp_path, Rule(name="brain", model=MODEL))
    house.complete(study["t1"])
    assert list(house.read()) == [uid_of(study["t1"])]
    assert not house.dispatch.undecided()


def test_a_rules_own_destinations_and_priority_stand_before_the_defaults(tmp_path: Path, study) -> None:
    house = House(tmp_path, Rule(name="brain", model=MODEL, destinations=(), priority="routine"))
    house.complete(study["t1"])
    (job,) = house.jobs.values()
    assert (job.destinations, job.priority) == ((), "routine")


def test_a_crash_anywhere_leads_to_the_same_jobs(tmp_path: Path, study: dict[str, Series]) -> None:
    """The process dies after each number of jobs that it handed in; the next one ends with the same jobs, once each."""
    whole = House(tmp_path / "whole")
    for made in study.values():
        whole.complete(made)
    whole.decide()
    for survived in range(4):
        house = House(tmp_path / f"{survived}")
        for made in study.values():
            house.complete(made)
        house.die_after = house.handed_in + survived
        with pytest.raises(PeerUnavailable):
            house.decide()
        house.die_after = None
        house.restart()
        assert len(house.dispatch.undecided()) == 1
        house.decide()
        house.restart()
        assert not house.dispatch.undecided()
        assert house.jobs.keys() == whole.jobs.keys()


def test_the_same_series_completing_again_after_a_crash_changes_nothing(tmp_path: Path, study) -> None:
    """Killed after the series was noted and before the receiver recorded that: it completes a second time."""
    house = House(tmp_path)
    for made in (*study.values(), *study.values()):
        house.complete(made)
    house.decide()
    before = dict(house.jobs)
    house.complete(study["t1"])
    house.decide()
    assert house.jobs == before
    assert list(house.read()) == [uid_of(study["t1c"])]


def test_a_better_series_that_comes_late_is_read_and_the_earlier_keeps_its_job(tmp_path: Path, study) -> None:
    house = House(tmp_path)
    house.complete(study["t1"])
    house.decide()
    assert list(house.read()) == [uid_of(study["t1"])]
    house.restart()
    house.complete(study["t1c"])
    house.decide()
    assert set(house.read()) == {uid_of(study["t1"]), uid_of(study["t1c"])}
    assert "by contrast agent" in str(house.read()[uid_of(study["t1c"])].selection)


def test_a_lesser_series_that_comes_late_is_recorded_as_not_chosen(tmp_path: Path, study) -> None:
    house = House(tmp_path)
    house.complete(study["t1c"])
    house.decide()
    house.complete(study["t1"])
    house.decide()
    assert list(house.read()) == [uid_of(study["t1c"])]
    assert house.codes() == {uid_of(study["t1"]): "NOT_CHOSEN"}


def test_a_late_slice_of_the_chosen_series_makes_a_new_job(tmp_path: Path, study) -> None:
    house = House(tmp_path)
    house.complete(study["t1c"][:5])
    house.complete(study["t1"])
    house.decide()
    house.complete(study["t1c"], revision=2)
    house.decide()
    revisions = [(job.revision, job.instances) for job in house.jobs.values() if job.model]
    assert revisions == [(1, 5), (2, 6)]


def test_where_the_model_takes_no_series_each_says_why(tmp_path: Path, study) -> None:
    house = House(tmp_path)
    house.complete(study["t2"])
    house.decide()
    (job,) = house.jobs.values()
    assert (job.model, job.refusal_code) == (None, "UNSUPPORTED_PROTOCOL")
    assert "T2-weighted" in str(job.refusal)
    house.complete(study["t1c"])  # one that it takes comes late
    house.decide()
    assert list(house.read()) == [uid_of(study["t1c"])]


def test_studies_are_chosen_from_apart(tmp_path: Path) -> None:
    house = House(tmp_path)
    one, two = brain_study("one"), brain_study("two")
    for name in ("t1", "t1c"):
        house.complete(one[name])
    house.complete(two["t1"])
    assert len(house.dispatch.undecided()) == 2
    house.decide()
    assert set(house.read()) == {uid_of(one["t1c"]), uid_of(two["t1"])}


def test_two_models_read_one_series_in_jobs_of_their_own(tmp_path: Path, study) -> None:
    rules = (Rule(name="a", model=MODEL), Rule(name="b", model="second"), Rule(name="c", model="second"))
    house = House(tmp_path, *rules, match="all", models=(second_model(tmp_path),))
    for _ in range(2):
        house.complete(study["t1c"])
    assert sorted((job.rule, job.model) for job in house.jobs.values()) == [("a", MODEL), ("b", "second")]
    manifests = {job.manifest for job in house.jobs.values()}
    assert len(manifests) == 2  # results of the two never share a folder
    assert all(Path(path).is_file() for path in manifests)


def test_each_model_has_its_own_choice_and_one_that_is_gone_holds_up_no_other(tmp_path: Path, study) -> None:
    rules = (Rule(name="a", model="second", per_study=True), Rule(name="b", model=MODEL, per_study=True))
    models = second_model(tmp_path)
    house = House(tmp_path, *rules, match="all", models=(models,))
    for name in ("t1", "t1c"):
        house.complete(study[name])
    (models / "second").rename(tmp_path / "away")
    with pytest.raises(BadModel, match="second"):
        house.decide()
    assert [(job.model, job.series_instance_uid) for job in house.jobs.values() if job.model] == [
        (MODEL, uid_of(study["t1c"]))
    ]
    assert house.dispatch.undecided()  # and tried again
    (tmp_path / "away").rename(models / "second")
    house.decide()
    assert len([job for job in house.jobs.values() if job.model]) == 2
    assert len([job for job in house.jobs.values() if job.refusal_code == "NOT_CHOSEN"]) == 2


def test_a_series_that_was_deleted_from_the_store_is_left_out(tmp_path: Path, study) -> None:
    house = House(tmp_path)
    house.complete(study["t1c"])
    house.complete(study["t1"])
    shutil.rmtree(tmp_path / "store" / uid_of(study["t1c"]))
    house.decide()
    assert list(house.read()) == [uid_of(study["t1"])]


def test_a_revision_that_no_choice_is_wanted_for_takes_its_note_along(tmp_path: Path, study) -> None:
    """The rule is changed to read each series at once, and the series comes again with one more slice."""
    house = House(tmp_path)
    house.complete(study["t1c"][:5])
    house.settings = house.settings.model_copy(update={"rules": (Rule(name="brain", model=MODEL),)})
    house.restart()
    house.complete(study["t1c"], revision=2)
    house.decide()
    assert [job.revision for job in house.jobs.values()] == [2]


def test_a_damaged_header_is_routed_by_what_is_whole(tmp_path: Path, study) -> None:
    """Cut off behind the UIDs: its modality still finds the rule, and who reads it whole says what is wrong."""
    house = House(tmp_path, Rule(name="brain", model=MODEL))
    folder = tmp_path / "cut"
    path = phantom.save(study["t1"][:1], folder)[0]
    data = path.read_bytes()
    at = data.index(b"\x20\x00\x11\x00IS")  # Series Number
    path.write_bytes(data[:at] + b"\x20\x00\x11\x00SQ\0\0\xff\xff\xff\xff" + b"\1" * 40)
    with pytest.raises(OSError, match="No tag to read"):
        pydicom.dcmread(path)
    ds: Dataset = study["t1"][0]
    item = StoredInstance(str(path), str(ds.SOPInstanceUID), "0" * 64)
    done = CompleteSeries(
        uid_of([ds]), str(ds.StudyInstanceUID), 1, (item,), "MODALITY", "quiet", datetime(2026, 1, 5, tzinfo=UTC)
    )
    house.dispatch(done)
    (job,) = house.jobs.values()
    assert job.model == MODEL
    house.dispatch(replace(done, revision=1))
    assert len(house.jobs) == 1


def test_the_instance_that_speaks_is_the_one_that_the_worker_asks(tmp_path: Path) -> None:
    """A series whose instances differ: routing and the model's own check look at the same one, the first by number."""
    from dicom_node.store.series_header import representative_of
    from pipeline.reading.files import read_path

    made = series("mixed", "mixed", "T1", number=1)
    for index, ds in enumerate(made):
        ds.InstanceNumber = 10 - index
        ds.EchoTime = str(10 + index)
    paths = phantom.save(made, tmp_path / "mixed")
    instances = tuple(
        StoredInstance(str(path), str(ds.SOPInstanceUID), "") for path, ds in zip(paths, made, strict=True)
    )
    header = representative_of(instances).header
    assert header.SOPInstanceUID == read_path(tmp_path / "mixed").header.SOPInstanceUID == made[-1].SOPInstanceUID
