from __future__ import annotations

import errno
import json

import pytest

from dicom_node.jobs.delivery import DeliveryJob
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import Failure, ResultRef, SeriesResult
from pipeline.errors import BadResult, OutOfResources, PeerBusy, Refused, Rejected
from pipeline.findings.model import Outcome


def raised(error: BaseException) -> Failure:
    """The failure of ``error`` as it is after being raised."""
    with pytest.raises(type(error)) as caught:
        raise error
    return Failure.of(caught.value)


def test_a_busy_peer_is_tried_again_after_the_time_it_asked_for() -> None:
    """Retryable errors keep code, text and retry_after."""
    failure = raised(PeerBusy("Later.", where="pacs", retry_after=30.0))
    assert failure == Failure("PEER_BUSY", "Later. [pacs]", again=True, retry_after=30.0)


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.ENOSPC, "No space left on device"), OutOfResources("Full.")]
)
def test_a_machine_out_of_resources_is_tried_again(error: BaseException) -> None:
    """Also where Python or the kernel said so."""
    failure = raised(error)
    assert (failure.code, failure.again) == ("OUT_OF_RESOURCES", True)


@pytest.mark.parametrize("error", [Rejected("No."), Refused("Not MR.")])
def test_a_no_is_final(error: BaseException) -> None:
    """Neither rejections nor refusals are tried again, and they need no trace."""
    failure = raised(error)
    assert not failure.again
    assert failure.trace == ""


def test_an_error_of_ours_has_its_trace_with_causes_and_no_foreign_message() -> None:
    """Our own words are kept, an exception's message that may quote a data set is not."""
    error = BadResult("The report could not be built.")
    error.__cause__ = KeyError("Prüfung^Ärztin"[::-1])
    failure = raised(error)
    assert (failure.code, failure.again) == ("BAD_RESULT", False)
    assert failure.text == "The report could not be built."
    assert "BadResult" in failure.trace
    assert "caused by KeyError" in failure.trace
    assert "test_outcome.py" in failure.trace
    assert "Prüfung^Ärztin"[::-1] not in f"{failure}"


def test_an_unforeseen_error_gives_its_type_and_place_only() -> None:
    """KeyError(name of a patient) must not show the name."""
    failure = raised(KeyError("Prüfung^Ärztin"[::-1]))
    assert (failure.code, failure.again) == ("UNFORESEEN", False)
    assert "KeyError in test_outcome.py, line" in failure.text
    assert "Prüfung^Ärztin"[::-1] not in f"{failure}"


def test_values_survive_json() -> None:
    """What goes into the database comes out the same."""
    refs = (ResultRef("overlay", "dicom", ("a.dcm", "b.dcm")), ResultRef("fhir-bundle", "fhir", ("b.json",)))
    result = SeriesResult(Outcome.FINDING, "summary.json", refs)
    refusal = SeriesResult(Outcome.REFUSED, refusal_code="NOT_ROUTED", refusal="No rule.")
    failure = raised(PeerBusy("Later.", retry_after=1.5))
    for value in (result, refusal, failure, refs[0]):
        assert type(value).from_dict(json.loads(json.dumps(value.to_dict()))) == value
    job = SeriesJob(
        "1.2:a:b", "1.2", "1.1", 1, "m.json", 3, "SCANNER", "released", "2026-11-21T08:00:00Z",
        "brain", "brain_mri_tumor", ("pacs", "ehr"), "stat",
    )  # fmt: skip
    delivery = DeliveryJob(job, refs[0], "pacs")
    assert DeliveryJob.from_dict(json.loads(json.dumps(delivery.to_dict()))) == delivery
