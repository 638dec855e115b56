"""What the images disagree about stands in no result; a series that names two patients makes none."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pydicom
import pypdfium2
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import LegacyConvertedEnhancedMRImageStorage

from dicom_node.deliver.hl7v2.oru import build as build_message
from dicom_node.settings.hl7v2 import Hl7v2Destination
from fhir.report import build as build_report
from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadGeometry, CandelaError, MixedPatients, MixedStudies
from pipeline.findings.identity import RunIdentity, instances_digest
from pipeline.findings.model import ClassProbability, Outcome, Prediction
from pipeline.process import Processed, process
from pipeline.reading.files import Series, read_parts
from pipeline.report.content import content_of_refusal
from pipeline.report.findings import Refusal
from pipeline.report.sentences import Language
from pipeline.results.sc import refusal as refusal_page
from tests.conformance.synthetic import ANSWERS, MODEL, file_bytes
from tests.peers.fhir_bundles import RECORDED
from tests.shapes import as_file, enhanced, group, reread

HEAD = phantom.head_phantom(slices=8, matrix=32)
MASK = phantom.lesion_mask(HEAD)
HL7 = Hl7v2Destination(
    kind="hl7v2", host="127.0.0.1", port=2575, receiving_application="EHR", receiving_facility="HOSPITAL"
)


class Knowing:
    """A model that finds the phantom's lesion."""

    identity = MODEL
    classes = tuple(ANSWERS[Outcome.FINDING][1])

    def check(self, header: Dataset) -> tuple[str, ...]:
        return ()

    def predict(self, volume: Any) -> Prediction:
        name, shares = ANSWERS[Outcome.FINDING]
        probabilities = tuple(ClassProbability(key, value) for key, value in shares.items())
        return Prediction(Outcome.FINDING, name, probabilities, MASK, MASK.astype(np.float32), 4)


def head(change: Callable[[int, Dataset], None]) -> list[Dataset]:
    datasets = copy.deepcopy(HEAD)
    for index, ds in enumerate(datasets):
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientBirthDate, ds.PatientSex = "19710304", "F"
        ds.IssuerOfAccessionNumberSequence = group(UniversalEntityID="1.2.3.4", UniversalEntityIDType="ISO")
        change(index, ds)
    return [reread(ds) for ds in datasets]


def half(**values: object) -> Callable[[int, Dataset], None]:
    def change(index: int, ds: Dataset) -> None:
        if index % 2:
            for keyword, value in values.items():
                setattr(ds, keyword, value)

    return change


def read(datasets: Sequence[Dataset], **more: Any) -> Processed:
    return process(
        Series(tuple(datasets)), Knowing(), now=lambda: 0.0, recorded=RECORDED,
        languages=(Language.ENGLISH,), **more,
    )  # fmt: skip


def everything(processed: Processed) -> list[str]:
    """All that leaves the node, as text."""
    texts = [str(pydicom.dcmread(DicomBytesIO(file_bytes(item.dataset)))) for item in processed.objects]
    texts += [json.dumps(build_report(processed.content)), build_message(processed.content, HL7).data.decode()]
    return [*texts, pypdfium2.PdfDocument(processed.pages[Language.ENGLISH])[0].get_textpage().get_text_range()]


def test_what_differs_is_in_no_result_and_every_result_says_so() -> None:
    """A birth date, a sex and an accession number in two forms: neither form goes out, in whatever format."""
    change = half(PatientBirthDate="19710403", PatientSex="M", AccessionNumber="OTHER-1")
    processed = read(head(change))
    for text in everything(processed):
        for value in ("19710304", "19710403", "1971-03-04", "1971-04-03", "PHANTOM-1", "OTHER-1", "1.2.3.4"):
            assert value not in text
    attributes = ("PatientBirthDate", "PatientSex", "AccessionNumber")
    assert Caveat(CaveatCode.ATTRIBUTES_DIFFER, {"attributes": attributes}) in processed.findings.caveats
    assert {str(item.dataset.PatientSex) for item in processed.objects} == {""}
    assert processed.content.study.accession is None


@pytest.mark.parametrize("first", [0, 1])
def test_the_identity_of_the_half_that_has_it_is_in_every_result(first: int) -> None:
    """Also where the first slice is of the other half."""

    def change(index: int, ds: Dataset) -> None:
        if index % 2 == first:
            ds.PatientID = ""

    processed = read(head(change))
    assert {item.dataset.PatientID for item in processed.objects} == {"CANDELA-PHANTOM"}
    assert processed.content.patient.identifier is not None
    assert Caveat(CaveatCode.ATTRIBUTES_FILLED_IN, {"attributes": ("PatientID",)}) in processed.findings.caveats


def frames(change: Callable[[int, Dataset], None]) -> list[Dataset]:
    """An acquisition as two enhanced objects of four frames each, the second as ``change`` makes it."""
    made = [enhanced(HEAD[:4]), enhanced(HEAD[4:])]
    change(1, made[1])
    return [reread(ds) for ds in made]


def unassigned(index: int, item: Dataset) -> None:
    """A legacy converter writes what differed between the images into each frame."""
    item.UnassignedPerFrameConvertedAttributesSequence = group(PatientID=("ONE", "TWO")[index % 2])


MIXED: dict[str, Callable[[], list[Dataset]]] = {
    "classic": lambda: head(half(PatientID="TWO", PatientName="Roe^Joan")),
    "two enhanced objects": lambda: frames(half(PatientID="TWO")),
    "one legacy converted object": lambda: [
        reread(enhanced(HEAD, sop_class=LegacyConvertedEnhancedMRImageStorage, each=unassigned))
    ],
}


@pytest.mark.parametrize("datasets", MIXED.values(), ids=list(MIXED))
def test_a_series_of_two_patients_makes_nothing(datasets: Callable[[], list[Dataset]]) -> None:
    """No result, and no page and no report that its refusal, or any other, could be filed under one of them."""
    mixed = datasets()
    with pytest.raises(MixedPatients) as refused:
        read(mixed)
    run = RunIdentity(str(mixed[0].SeriesInstanceUID), instances_digest(ds.SOPInstanceUID for ds in mixed), "a" * 64)
    for refusal in (refused.value, BadGeometry("The slices overlap.")):
        assert refusal_page.build(mixed, refusal, MODEL) == ()
        told = Refusal(refusal.code, str(refusal))
        with pytest.raises(MixedPatients):
            content_of_refusal(Series(tuple(mixed)), told, MODEL, run, recorded=RECORDED)


def test_a_file_or_zip_of_two_patients_is_refused_as_a_folder_is() -> None:
    """Whatever the way in: the parts of one series are compared."""
    parts = [(f"{index}.dcm", as_file(ds)) for index, ds in enumerate(head(half(PatientID="TWO")))]
    with pytest.raises(MixedPatients):
        read(read_parts(parts, where="x.zip").datasets)


def test_two_studies_are_refused() -> None:
    with pytest.raises(MixedStudies):
        read(head(half(StudyInstanceUID="2.25.9")))


def test_another_refusal_of_a_reconciled_series_says_what_all_images_do() -> None:
    """A page and a report about a missing slice do not repeat one of two birth dates."""
    datasets = head(half(PatientBirthDate="19710403"))
    error: CandelaError = BadGeometry("The slices overlap.")
    ((page,),) = (refusal_page.build(datasets, error, MODEL),)  # type: ignore[arg-type]
    assert page.dataset.PatientID == "CANDELA-PHANTOM"
    assert not page.dataset.PatientBirthDate
    run = RunIdentity(str(datasets[0].SeriesInstanceUID), "b" * 64, "a" * 64)
    told = content_of_refusal(Series(tuple(datasets)), Refusal(error.code, str(error)), MODEL, run, recorded=RECORDED)
    assert told.patient.birth_date == ""


def test_a_chosen_identity_is_in_every_result_under_uids_of_its_own() -> None:
    """Another choice is another content: instances, series, report and lesions share no UID with any other run's."""
    mixed = head(half(PatientID="TWO", PatientName="Roe^Joan"))
    runs = [read(mixed, identity_from=str(mixed[index].SOPInstanceUID)) for index in (0, 1)]
    runs.append(read(head(lambda _index, _ds: None)))
    for processed, patient in zip(runs, ("CANDELA-PHANTOM", "TWO", "CANDELA-PHANTOM"), strict=True):
        assert {item.dataset.PatientID for item in processed.objects} == {patient}
    assert [Caveat(CaveatCode.IDENTITY_CHOSEN) in processed.findings.caveats for processed in runs] == [
        True,
        True,
        False,
    ]
    for uids in (
        [{item.dataset.SOPInstanceUID for item in processed.objects} for processed in runs],
        [{item.dataset.SeriesInstanceUID for item in processed.objects} for processed in runs],
        [{processed.content.lasting_uid("diagnostic report")} for processed in runs],
        [{lesion.tracking_uid for lesion in processed.findings.regions} for processed in runs],
    ):
        assert uids[0].isdisjoint(uids[1])
        assert uids[2].isdisjoint(uids[0] | uids[1])
