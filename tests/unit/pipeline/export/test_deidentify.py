"""What leaves for research names nobody, is still valid, and still hangs together."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import UID, EncapsulatedPDFStorage

from pipeline import phantom
from pipeline.errors import IdentityInPixels
from pipeline.export.deidentify import Pseudonyms, deidentify
from pipeline.findings.own_results import CREATOR_UID
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import build_all, context_of, file_bytes
from tests.conformance.test_dciodvfy import errors

KEY = b"a key of thirty-two bytes or so!"
SECRETS = {
    "PatientName": "Kowalczyk^Bronisława",
    "PatientID": "PID-7391-KOW",
    "OtherPatientIDs": "OTHER-7391",
    "PatientBirthDate": "19570323",
    "AccessionNumber": "ACC-80551",
    "StudyID": "STID-4471",
    "InstitutionName": "Klinik Sankt Florian",
    "InstitutionAddress": "Lindengasse 11",
    "ReferringPhysicianName": "Überweiser^Otto",
    "PerformingPhysicianName": "Röntgen^Wilma",
    "OperatorsName": "Bediener^Udo",
    "StationName": "MR-KELLER-2",
    "DeviceSerialNumber": "SN-0099887",
    "StudyDescription": "Schädel von Frau Kowalczyk",
    "SeriesDescription": "t1 Kowalczyk post Gd",
    "ImageComments": "Kowalczyk, Zimmer 12",
    "PatientAddress": "Rosenweg 4",
    "StudyDate": "20260817",
    "AcquisitionDate": "20260818",
    "ContentDate": "20260819",
    "SeriesDate": "20260816",
}


def marked(datasets: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
    """The series as if it were of a patient, with what a scanner writes about one at every depth."""
    for ds in datasets:
        ds.SpecificCharacterSet = "ISO_IR 192"
        for keyword, value in SECRETS.items():
            setattr(ds, keyword, value)
        item = Dataset()
        item.RequestedProcedureDescription = "Kontrolle Kowalczyk"
        item.ScheduledProcedureStepID = "SPS-3377"
        ds.RequestAttributesSequence = [item]
        ds.add_new(0x00090010, "LO", "VENDOR")
        ds.add_new(0x00091001, "LO", "Kowalczyk private")
        ds.add_new(0x60000010, "US", 8)
        ds.add_new(0x60003000, "OW", b"Kowalczyk overlay")
        ds.BurnedInAnnotation = "NO"
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.file_meta.SourceApplicationEntityTitle = "MRKELLER"
    return datasets


@pytest.fixture(scope="module")
def source() -> tuple[Dataset, ...]:
    return marked(phantom.head_phantom(slices=12, matrix=64, header=phantom.Header(key="deidentify")))


@pytest.fixture(scope="module")
def everything(source: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
    context: ResultContext = context_of(source, phantom.lesion_mask(source))
    return tuple(item.dataset for item in build_all(context))


@pytest.fixture(scope="module")
def results(everything: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
    """What can be de-identified: all but pages."""
    return tuple(ds for ds in everything if ds.SOPClassUID != EncapsulatedPDFStorage)


def uids(ds: Dataset) -> Iterator[str]:
    """Every UID below ``ds`` that was not registered by the standard."""
    for element in ds.iterall():
        if element.VR == "UI":
            values = element.value if element.VM > 1 else [element.value]
            yield from (str(value) for value in values if value and not str(value).startswith("1.2.840.10008."))


def told(ds: Dataset) -> list[str]:
    """Which secrets the file still holds, byte for byte."""
    data = file_bytes(ds)
    words = {part for value in SECRETS.values() for part in value.replace("^", " ").split() if len(part) > 3}
    words |= set(SECRETS.values()) | {"MRKELLER", "SPS-3377", "overlay\0", "Kontrolle"}
    return [word for word in sorted(words) if word.encode() in data]


def test_no_word_about_the_patient_is_left_in_images_and_results(
    source: tuple[Dataset, ...], results: tuple[Dataset, ...]
) -> None:
    """Names, numbers, addresses, dates, private and overlay data, at every depth, and no original UID."""
    original = {uid for ds in (*source, *results) for uid in uids(ds)}
    assert told(source[0])
    for ds in (*source, *results):
        clean = deidentify(ds, KEY, source=source[0])
        assert told(clean) == []
        assert set(uids(clean)) & original <= {CREATOR_UID}  # the same for every installation
        assert clean.PatientIdentityRemoved == "YES"
        assert clean.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert clean.file_meta.MediaStorageSOPInstanceUID == clean.SOPInstanceUID
        assert clean.SOPClassUID == ds.SOPClassUID


def test_results_and_images_still_refer_to_each_other(
    source: tuple[Dataset, ...], results: tuple[Dataset, ...], everything: tuple[Dataset, ...]
) -> None:
    """One study, one patient, and every reference leads to an image or result, the PDF that stays behind among them."""
    clean = [deidentify(ds, KEY, source=source[0]) for ds in (*source, *results)]
    assert len({ds.StudyInstanceUID for ds in clean}) == 1
    assert len({ds.PatientID for ds in clean}) == 1
    assert clean[0].PatientID != SECRETS["PatientID"]
    there = {Pseudonyms(KEY).uid(str(ds.SOPInstanceUID)) for ds in (*source, *everything)}
    assert {str(ds.SOPInstanceUID) for ds in clean} <= there
    referred = {
        str(element.value)
        for ds in clean
        for element in ds.iterall()
        if element.keyword == "ReferencedSOPInstanceUID" and element.value
    }
    assert referred
    assert referred <= there


def test_what_candela_says_of_a_result_stays(results: tuple[Dataset, ...], source: tuple[Dataset, ...]) -> None:
    """That it is by an algorithm and not for diagnosis, and the report's measurements."""
    for ds in results:
        clean = deidentify(ds, KEY, source=source[0])
        assert "not for diagnosis" in clean.SeriesDescription
    report = next(ds for ds in results if any(e.keyword == "NumericValue" for e in ds.iterall()))
    clean = deidentify(report, KEY)
    assert [item.ValueType for item in clean.ContentSequence] == [item.ValueType for item in report.ContentSequence]
    before = [str(e.value) for e in report.iterall() if e.keyword == "NumericValue"]
    assert before
    assert [str(e.value) for e in clean.iterall() if e.keyword == "NumericValue"] == before
    codes = {item.CodeValue for item in clean.DeidentificationMethodCodeSequence}
    assert codes == {"113100", "113104", "113105"}


def test_the_same_key_gives_the_same_stand_ins_and_another_key_none_of_them(source: tuple[Dataset, ...]) -> None:
    """Sent again, it is the same object; two research projects cannot link their copies."""
    one, again = deidentify(source[0], KEY), deidentify(source[0], KEY)
    assert file_bytes(one) == file_bytes(again)
    other = deidentify(source[0], b"another key of thirty-two bytes!")
    assert other.PatientID != one.PatientID
    assert not set(uids(other)) & set(uids(one))
    assert source[0].PatientName == SECRETS["PatientName"], "the original is left alone"


def test_uids_are_valid() -> None:
    """At most 64 characters, under 2.25, from a UUID of version 8."""
    for number in range(200):
        made = Pseudonyms(KEY).uid(f"1.2.3.{number}")
        assert UID(made).is_valid
        assert f"{int(made[5:]):032x}"[12] == "8"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian package dicom3tools)")
def test_what_leaves_is_valid(results: tuple[Dataset, ...], source: tuple[Dataset, ...], tmp_path: Path) -> None:
    """dciodvfy has no more against the de-identified object than against the original."""
    for number, ds in enumerate((source[0], *results)):
        paths = [tmp_path / f"{number}-{what}.dcm" for what in ("before", "after")]
        paths[0].write_bytes(file_bytes(ds))
        paths[1].write_bytes(file_bytes(deidentify(ds, KEY, source=source[0])))
        assert dcmread(DicomBytesIO(paths[1].read_bytes())).PatientIdentityRemoved == "YES"
        assert set(errors(paths[1])) <= set(errors(paths[0]))


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"BurnedInAnnotation": "YES"}, True),
        ({"BurnedInAnnotation": None}, False),
        ({"BurnedInAnnotation": None, "ImageType": ["DERIVED", "SECONDARY"]}, True),
        ({"BurnedInAnnotation": None, "Modality": "US"}, True),
        ({"BurnedInAnnotation": "NO", "Modality": "US"}, False),
    ],
)
def test_pixels_that_may_name_the_patient_do_not_leave(
    source: tuple[Dataset, ...], changes: dict[str, object], refused: bool
) -> None:
    """What says so, and what does not say that it does not unless it is an original MR, CT, PT or NM image."""
    ds = Dataset(source[0])
    ds.file_meta = source[0].file_meta
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    if refused:
        with pytest.raises(IdentityInPixels):
            deidentify(ds, KEY)
    else:
        assert deidentify(ds, KEY).BurnedInAnnotation == "NO"


def test_an_overlay_is_judged_by_its_source(results: tuple[Dataset, ...], source: tuple[Dataset, ...]) -> None:
    """It says YES because there is text in it, ours; where the source's own pixels may name the patient it stays."""
    overlay = next(ds for ds in results if ds.get("BurnedInAnnotation") == "YES")
    assert deidentify(overlay, KEY, source=source[0]).BurnedInAnnotation == "NO"
    with pytest.raises(IdentityInPixels):
        deidentify(overlay, KEY)
    photographed = Dataset(source[0])
    photographed.BurnedInAnnotation = "YES"
    with pytest.raises(IdentityInPixels):
        deidentify(overlay, KEY, source=photographed)
