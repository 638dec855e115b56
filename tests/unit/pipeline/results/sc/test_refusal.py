"""The page of a refusal: the reason in words, whose series, nothing about the patient, and it is never read again."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import phantom
from pipeline.errors import BadPixels, MissingSlices, Refused
from pipeline.findings.own_results import is_own_result
from pipeline.results.drawing.page_parts import FOOT
from pipeline.results.sc import refusal
from tests.conformance.synthetic import MODEL, file_bytes

REASON = MissingSlices("2 slices are missing.", where="after slice 4", todo="Send the series again.")


def test_it_says_why_what_to_do_and_that_it_says_nothing_of_the_patient(written: list[str]) -> None:
    refusal.build(phantom.head_phantom(slices=3, matrix=16), REASON, MODEL)
    for line in ("Not read by the algorithm", "2 slices are missing.", "after slice 4", "Send the series again."):
        assert line in written
    assert "There is no result. This says nothing about the patient." in written
    assert "MISSING_SLICES" in written
    assert not [line for line in written if "PHANTOM" in line.upper()]


def test_it_belongs_to_the_patient_and_study_and_is_known_as_ours() -> None:
    """Same patient and study, own series, no geometry, Burned In Annotation YES, and the loop guard knows it."""
    sources = phantom.head_phantom(slices=3, matrix=16)
    (item,) = refusal.build(sources, REASON, MODEL)
    ds = item.dataset
    assert (ds.PatientID, ds.StudyInstanceUID) == (sources[0].PatientID, sources[0].StudyInstanceUID)
    assert ds.SeriesInstanceUID != sources[0].SeriesInstanceUID
    assert not {"ImagePositionPatient", "PixelSpacing", "FrameOfReferenceUID"} & set(ds.dir())
    assert ds.BurnedInAnnotation == "YES"
    assert ds.SeriesDescription == "AI refusal for review, not for diagnosis"
    assert is_own_result(ds)
    assert np.array_equal(ds.pixel_array, item.preview)


def test_the_same_reason_is_the_same_object_and_another_reason_another() -> None:
    """A resend makes no second page; a page with other words has another UID."""
    sources = phantom.head_phantom(slices=3, matrix=16)
    (first,), (again,) = (refusal.build(sources, REASON, MODEL) for _ in range(2))
    assert file_bytes(first.dataset) == file_bytes(again.dataset)
    (other,) = refusal.build(sources, BadPixels("The pixels are gone."), MODEL)
    assert other.dataset.SOPInstanceUID != first.dataset.SOPInstanceUID


@pytest.mark.parametrize("what", ["word " * 900, "x" * 3000, "理由 " * 400, "เหตุผล"])
def test_any_reason_stays_on_the_page(what: str) -> None:
    """Long ones are cut, scripts without a typeface are replaced, the frame stays readable."""
    (item,) = refusal.build(phantom.head_phantom(slices=3, matrix=16), Refused(what, where=what, todo=what), MODEL)
    assert item.preview is not None
    assert item.preview[FOOT : FOOT + 3].max() == 0  # nothing runs into the foot lines
    assert item.preview[:, 1016:].max() == 0
    assert len(item.dataset.ImageComments) <= 10240
