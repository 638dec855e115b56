"""Where results say that they come from: identity byte for byte, nothing from a clock, never taken for an input."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.findings.model import Outcome
from pipeline.findings.own_results import CREATOR_UID
from pipeline.reading.files import read_path
from pipeline.results.profile import KINDS, Profile, TransferSyntax
from pipeline.results.provenance import NO_DATE, SERIES_NUMBERS, ResultContext
from pipeline.results.wording import ascii_text
from tests.conformance.synthetic import MODEL, build_all, context_of, file_bytes, phantom_context

ROOT = Path(__file__).parents[4]
FEW_PAGES = Profile(objects=KINDS, overlay_slices=1)


def small(**changes: object) -> tuple[Dataset, ...]:
    """A phantom of 12 slices with attributes changed in every instance; None deletes one."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    for ds in datasets:
        for keyword, value in changes.items():
            if value is None:
                del ds[keyword]
            else:
                setattr(ds, keyword, value)
    return datasets


def with_raw(folder: Path, character_sets: bytes, values: dict[int, bytes]) -> Path:
    """A phantom in files whose text elements hold exactly these bytes (explicit VR little endian)."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    for ds in datasets:
        del ds.SpecificCharacterSet
        ds.add_new(0x00080005, "CS", "ISO_IR 192")
        ds.PatientName, ds.PatientID, ds.StudyDescription = "NAME", "ID", "STUDY"
    for path in phantom.save(datasets, folder):
        content = path.read_bytes()
        swaps = {
            b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192": (b"\x08\x00\x05\x00CS", character_sets),
            b"\x10\x00\x10\x00PN\x04\x00NAME": (b"\x10\x00\x10\x00PN", values[0x00100010]),
            b"\x10\x00\x20\x00LO\x02\x00ID": (b"\x10\x00\x20\x00LO", values[0x00100020]),
            b"\x08\x00\x30\x10LO\x06\x00STUDY ": (b"\x08\x00\x30\x10LO", values[0x00081030]),
        }
        for old, (head, value) in swaps.items():
            assert content.count(old) == 1
            content = content.replace(old, head + len(value).to_bytes(2, "little") + value)
        path.write_bytes(content)
    return folder


NAMES = {
    "Japanese, ISO 2022": (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B ",
        b"\x1b$B4[\x1b(B-7 ",
        b"\x1b$BF,It\x1b(B MR\x1b$B8!::\x1b(B",
    ),
    "Japanese, half-width": (
        b"ISO 2022 IR 13\\ISO 2022 IR 87 ",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J ",
        b"\xc0\xdb-1",
        b"\x1b$BF,It\x1b(J\xd4\xcf",
    ),
    "Korean, ISO 2022": (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        b"\x1b$)C\xb9\xf8-7",
        b"\x1b$)C\xb3\xfa MR",
    ),
    "Latin-1": (b"ISO_IR 100", b"M\xfcller^J\xf6rg", b"P-\xe9\xff", b"Sch\xe4del "),
    "UTF-8": (b"ISO_IR 192", "Παπαδόπουλος^王小明".encode() + b" ", "Ü1".encode() + b" ", "頭部".encode()),
    "Chinese, GB18030": (
        b"GB18030 ",
        "Wang^XiaoDong=王^小东".encode("gb18030"),
        "病-1".encode("gb18030"),
        "头部".encode("gb18030"),
    ),
    "Cyrillic": (b"ISO_IR 144", "Иванов^Иван ".encode("iso8859-5"), "№".encode("iso8859-5") + b"1", b"\xb3\xde"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_survive_byte_for_byte(kind: str, tmp_path: Path) -> None:
    """What the source's files hold as name, identifier and description is in every result's file, not one byte other.

    The series goes the way that `candela process` takes it: read, and only then built from.
    """
    character_sets, name, identifier, description = (value + b" " * (len(value) % 2) for value in NAMES[kind])
    values = {0x00100010: name, 0x00100020: identifier, 0x00081030: description}
    series = read_path(with_raw(tmp_path / "series", character_sets, values))
    mask = phantom.lesion_mask(phantom.head_phantom(slices=12, matrix=64))
    objects = build_all(context_of(series.datasets, mask), FEW_PAGES)
    assert {item.role for item in objects} == set(KINDS)
    for item in objects:
        content = file_bytes(item.dataset)
        for head, value in (
            (b"\x08\x00\x05\x00CS", character_sets),
            (b"\x10\x00\x10\x00PN", name),
            (b"\x10\x00\x20\x00LO", identifier),
            (b"\x08\x00\x30\x10LO", description),
        ):
            assert head + len(value).to_bytes(2, "little") + value in content, item.filename


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "RLELossless"])
@pytest.mark.parametrize("kind", ["Japanese, ISO 2022", "Korean, ISO 2022", "Latin-1", "UTF-8"])
def test_names_survive_in_other_transfer_syntaxes(kind: str, syntax: TransferSyntax, tmp_path: Path) -> None:
    """The same bytes, whatever the encoding around them."""
    character_sets, name, identifier, description = (value + b" " * (len(value) % 2) for value in NAMES[kind])
    values = {0x00100010: name, 0x00100020: identifier, 0x00081030: description}
    series = read_path(with_raw(tmp_path / "series", character_sets, values))
    profile = Profile(objects=("overlay", "segmentation", "keyobjects"), transfer_syntax=syntax)
    for item in build_all(context_of(series.datasets), profile):
        content = file_bytes(item.dataset)
        for value in (character_sets, name, identifier, description):
            assert value in content, item.filename


def test_results_read_back_with_the_sources_names() -> None:
    """What a PACS decodes from a result is the patient that it decodes from the source."""
    datasets = small(PatientName="Müller^Jörg", ReferringPhysicianName="Ärztin^Ünal", PatientID="Ä1")
    for item in build_all(context_of(datasets), FEW_PAGES):
        ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))
        assert (ds.PatientName, ds.PatientID) == ("Müller^Jörg", "Ä1")
        assert ds.ReferringPhysicianName == "Ärztin^Ünal"
        assert ds.StudyInstanceUID == datasets[0].StudyInstanceUID
        assert ds.AccessionNumber == datasets[0].AccessionNumber


def test_issuers_and_procedure_codes_are_carried() -> None:
    """Who issued the identifiers and what was ordered stands in sequences, and those are copied too."""
    issuer, procedure = Dataset(), Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "ISO"
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "24590-2", "LN", "MR Brain"
    datasets = small(
        IssuerOfPatientID="HOSPITAL",
        IssuerOfPatientIDQualifiersSequence=[issuer],
        IssuerOfAccessionNumberSequence=[issuer],
        ProcedureCodeSequence=[procedure],
    )
    for item in build_all(context_of(datasets), FEW_PAGES):
        assert item.dataset.IssuerOfPatientID == "HOSPITAL"
        assert item.dataset.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3"
        assert item.dataset.IssuerOfAccessionNumberSequence[0].UniversalEntityID == "1.2.3"
        assert item.dataset.ProcedureCodeSequence[0].CodeMeaning == "MR Brain"


@pytest.mark.parametrize(
    "keyword",
    ["PatientID", "PatientName", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"],
)
def test_what_the_source_lacks_is_empty_never_invented(keyword: str) -> None:
    """Type 2 attributes are there and empty where the source has none."""
    for item in build_all(context_of(small(**{keyword: None})), FEW_PAGES):
        assert keyword in item.dataset
        assert not item.dataset[keyword].value


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dates_that_are_none_are_left_out_and_names_are_not() -> None:
    """De-identifiers write "***" over dates and names: the dates are empty then, the patient is still called that."""
    datasets = small(PatientName="***", PatientID="***", PatientSex="?", PatientIdentityRemoved="PERHAPS")
    for ds in datasets:
        for keyword in ("StudyDate", "PatientBirthDate", "StudyTime"):
            ds[keyword] = DataElement(keyword, "DA", "***", validation_mode=pydicom.config.IGNORE)
    for item in build_all(context_of(datasets), FEW_PAGES):
        ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))
        assert (ds.PatientName, ds.PatientID) == ("***", "***")
        assert (ds.StudyDate, ds.StudyTime, ds.PatientBirthDate, ds.PatientSex) == ("", "", "", "")
        assert "PatientIdentityRemoved" not in ds


def test_a_source_without_frame_of_reference_gets_one_of_this_run() -> None:
    """Results of the run link with each other and with no other series."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    mask = phantom.lesion_mask(datasets)
    for ds in datasets:
        del ds.FrameOfReferenceUID
    context = context_of(datasets, mask)
    frames = {item.dataset.get("FrameOfReferenceUID") for item in build_all(context)} - {None}
    assert frames == {context.run.uid("frame of reference")}


SCRIPT = """
import hashlib, json, sys, time
sys.path.insert(0, sys.argv[1])
from pipeline.findings.model import Outcome
from tests.conformance.synthetic import build_all, file_bytes, phantom_context
objects = [item for outcome in (Outcome.FINDING, Outcome.NO_FINDING) for item in
           build_all(phantom_context(outcome=outcome, slices=4))]
print(json.dumps([hashlib.sha256(file_bytes(item.dataset)).hexdigest() for item in objects]))
"""


def test_the_same_series_and_model_give_the_same_bytes_in_another_process_at_another_time() -> None:
    """No clock, no random UID and no hash seed reaches a file: the same SOP Instance UID is the same content."""
    environment = {**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT)], env=environment, capture_output=True, text=True, check=True
    )
    here = [
        hashlib.sha256(file_bytes(item.dataset)).hexdigest()
        for outcome in (Outcome.FINDING, Outcome.NO_FINDING)
        for item in build_all(phantom_context(outcome=outcome, slices=4))
    ]
    assert json.loads(done.stdout) == here


def test_another_model_makes_other_instances_and_another_device() -> None:
    """Results of two models, or of two versions of one, stand side by side."""
    from dataclasses import replace

    datasets = small()
    first, second = (
        context_of(datasets, model=model) for model in (MODEL, replace(MODEL, version="0.2.0", digest="f" * 64))
    )
    assert first.run.device_uid != second.run.device_uid
    uids = [{item.dataset.SOPInstanceUID for item in build_all(context)} for context in (first, second)]
    assert not uids[0] & uids[1]


def test_uids_are_unique_and_under_the_organisations_root() -> None:
    """With a root set every UID that is not the source's or the standard's is under it."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    context = context_of(datasets, phantom.lesion_mask(datasets), root="1.2.826.0.1.999")
    objects = build_all(context)
    assert len({item.dataset.SOPInstanceUID for item in objects}) == len(objects)
    for item in objects:
        for element in item.dataset.iterall():
            if element.VR != "UI" or not element.value:
                continue
            for value in [element.value] if element.VM == 1 else element.value:
                known = value in {*context.source_uids, CREATOR_UID} or value.startswith("1.2.840.10008.")
                assert known or value.startswith("1.2.826.0.1.999."), element


def test_the_equipment_says_which_algorithm_it_was() -> None:
    """Contributing Equipment: purpose, maker, model, versions, device UID (standards.md asks for each)."""
    context = phantom_context()
    for item in build_all(context):
        (equipment,) = item.dataset.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert equipment.Manufacturer == "Candela"
        assert equipment.ManufacturerModelName == MODEL.title
        assert list(equipment.SoftwareVersions) == [MODEL.version, MODEL.digest[:16]]
        assert equipment.DeviceUID == context.run.device_uid
        assert "not for diagnosis" in equipment.ContributionDescription


def test_series_are_told_apart_and_say_what_they_are() -> None:
    """One series a kind, numbered high, described as an AI's work for review."""
    objects = build_all(phantom_context())
    assert {(item.role, item.dataset.SeriesNumber) for item in objects} == set(SERIES_NUMBERS.items()) - {
        ("refusal", 9110),
        ("assessment", 9112),
    }
    assert len({item.dataset.SeriesInstanceUID for item in objects}) == len(KINDS)
    for item in objects:
        assert item.dataset.SeriesDescription.startswith("AI ")
        assert "for review" in item.dataset.SeriesDescription


def undated(context: ResultContext) -> ResultContext:
    """``context`` of a run that does not know when it began, as those of earlier versions."""
    return replace(context, run=replace(context.run, began=None))


def test_instants_of_a_run_that_does_not_know_its_own_are_the_sources_latest() -> None:
    """The latest of study, series, acquisition and content in any instance; broken values are passed over."""
    datasets = small(ContentDate="20260106", ContentTime="0815")
    datasets[5].AcquisitionDate, datasets[5].AcquisitionTime = "20260107", "235959.5"
    context = undated(context_of(datasets))
    assert context.instant == ("20260107", "235959.5")
    for item in build_all(context):
        what = "PresentationCreation" if item.role == "presentation" else "Content"
        found = [item.dataset[f"{what}{part}"].value for part in ("Date", "Time")]
        assert found == ["20260107", "235959.5"]


def test_a_source_without_any_date_still_has_results() -> None:
    """Where the standard demands a date and the source has none, one stands there that nobody takes for true."""
    changes = {
        f"{what}{kind}": "" for what in ("Study", "Series", "Acquisition", "Content") for kind in ("Date", "Time")
    }
    assert undated(context_of(small(**changes))).instant == NO_DATE


def test_own_words_are_plain_ascii() -> None:
    """Whatever character set the names are in, our words read the same in it."""
    assert ascii_text("T1 — 224² µm, “fold”\\x") == 'T1 - 224^2 um, "fold"/x'
    assert len(ascii_text("x" * 100, 64)) == 64
    for item in build_all(phantom_context()):
        description = item.dataset.get("DerivationDescription", "") + item.dataset.get("ImageComments", "")
        assert description.isascii()
