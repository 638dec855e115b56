"""Rejection notes that arrive: which jobs they concern, and what the node does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.audit import trail as audit
from dicom_node.completion.dispatch import Dispatch
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.engine import prepare
from dicom_node.jobs.rejections import Rejections
from dicom_node.jobs.status import JobState
from tests.peers.rejection import rejection_note
from tests.peers.study import uid_of
from tests.unit.dicom_node.completion.test_dispatch_patients import Node, one


class House(Node):
    """Queues its jobs in a real engine, where no worker runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        prepare(self.settings)
        self.client = JobsClient(self.settings)
        self.dispatch = Dispatch(self.settings, self.client.submit, Rejections(self.settings, self.client))

    def close(self) -> None:
        self.client.close()
        super().close()

    def states(self, datasets: tuple[Dataset, ...]) -> list[tuple[JobState, str | None]]:
        return [(item.state, item.job.refusal_code) for item in self.client.of_series(uid_of(datasets))]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    "title",
    ["RejectedForQualityReasons", "RejectedForPatientSafetyReasons", "IncorrectModalityWorklistEntry"],
)
def test_a_job_whose_images_are_rejected_is_held_and_says_so(house: House, title: str) -> None:
    """One image is enough. An operator sees it, decides, and the same note does not undo that."""
    images, other = one("rejected"), one("other", 2)
    house.complete(images)
    house.complete(other)
    note = rejection_note(images[1:2], title)
    house.complete((note,))
    assert house.states(images) == [(JobState.CANCELLED, None)]
    assert house.states(other) == [(JobState.QUEUED, None)]
    ((_, code),) = house.states((note,))
    assert code == "REJECTION_NOTE"
    job = house.client.of_series(uid_of(images))[0].job.job_id
    assert "1 of its images were rejected" in " ".join(house.run("show", job).split())
    assert "reading the series again" in house.run("retry", job)
    house.complete((note,))
    assert house.states(images) == [(JobState.RETRYING, None)]
    (file,) = audit.files(house.settings.audit_dir)
    assert sum(line["what"].startswith("images rejected") for line in audit.read(file)) == 1


def test_images_that_were_rejected_before_are_not_read(house: House) -> None:
    """A note may overtake its images: they are refused, with the reason, whole or in part."""
    images = one("late")
    house.complete((rejection_note(images[:1]),))
    house.complete(images)
    ((_, code),) = house.states(images)
    assert code == "IMAGES_REJECTED"
    (detail,) = house.client.of_series(uid_of(images))
    assert "1 of 4 images were rejected at their source: Rejected for Quality Reasons" in str(detail.job.refusal)


def test_corrected_images_of_another_patient_do_not_contradict_what_was_rejected(house: House) -> None:
    """Under new UIDs in the same study, as IHE's correction of a worklist entry goes."""
    wrong = one("wrong", PatientID="WRONG")
    house.complete(wrong)
    house.complete((rejection_note(wrong, "IncorrectModalityWorklistEntry"),))
    right = one("right", 2)
    house.complete(right)
    assert house.states(right) == [(JobState.QUEUED, None)]


def test_an_expired_retention_rejects_nothing(house: House) -> None:
    """The archive may delete them, and nothing is wrong with what was read."""
    images = one("expired")
    house.complete(images)
    note = rejection_note(images, "DataRetentionPolicyExpired")
    house.complete((note,))
    assert house.states(images) == [(JobState.QUEUED, None)]
    (detail,) = house.client.of_series(str(note.SeriesInstanceUID))
    assert "nothing is wrong with its images" in str(detail.job.refusal)
    house.complete(one("expired"), revision=2)
    assert [code for _, code in house.states(images)] == [None]


def test_a_selection_of_another_title_rejects_nothing(house: House) -> None:
    images = one("interesting")
    house.complete(images)
    note = rejection_note(images, "OfInterest")
    house.complete((note,))
    assert house.states(images) == [(JobState.QUEUED, None)]
    assert house.states((note,)) == [(JobState.QUEUED, None)]  # the rule takes every series
