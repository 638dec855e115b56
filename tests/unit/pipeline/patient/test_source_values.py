"""The gate: what results repeat of a header is valid for its VR, its range and every format, or left out and noted."""

from __future__ import annotations

import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import MRImageStorage

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadIdentity
from pipeline.patient.source_values import cleaned, keywords
from pipeline.reading.value_forms import encoded_text, printable
from pipeline.report.sentences import Language, caveat

SERIES = "1.2.3.4"


def header(character_set: bytes = b"ISO_IR 192", **raw: bytes | tuple[str, bytes] | list[Dataset]) -> Dataset:
    """A header as a file gives it: values are bytes that nobody has decoded, a tuple also has a VR of its own."""
    ds = Dataset()
    values = {
        "SpecificCharacterSet": character_set,
        "SOPClassUID": str(MRImageStorage).encode(),
        "SOPInstanceUID": b"1.2.3.4.5",
        "StudyInstanceUID": b"1.2.3",
        "SeriesInstanceUID": SERIES.encode(),
        "PatientID": b"4711",
        **raw,
    }
    for keyword, value in values.items():
        tag = Tag(keyword)
        if isinstance(value, list):
            ds.add_new(tag, "SQ", value)
            continue
        vr, data = value if isinstance(value, tuple) else (dictionary_VR(tag), value)
        ds[tag] = RawDataElement(tag, vr, len(data), data, 0, False, True)
    ds.set_original_encoding(False, True, ["utf8"])
    return ds


LEFT_OUT, REPEATED = CaveatCode.INVALID_VALUES_LEFT_OUT, CaveatCode.IRREGULAR_VALUES_REPEATED


def pass_gate(**raw: bytes | tuple[str, bytes] | list[Dataset]) -> tuple[Dataset, tuple[Caveat, ...]]:
    given = header(**raw)  # type: ignore[arg-type]
    return united(given)


def united(given: Dataset) -> tuple[Dataset, tuple[Caveat, ...]]:
    """Everything that results may read of one header, and the caveats."""
    (clean,), subject, caveats = cleaned([given], given)
    subject.update(clean)
    return subject, caveats


BAD = {
    "StudyDate": (b"20261301", b"00000000", b"20260231", b"00010101", b"99991231", b"***", b"2026", b"-1", b"\xff\xfe"),
    "PatientBirthDate": (b"19700001", b"17530101", b"10**11**", b"19700101\\19700102"),
    "ContentTime": (b"250000", b"1", b"081560", b"NaN", b"0815.5", "٠٨".encode()),
    "TimezoneOffsetFromUTC": (b"+9999", b"+1401", b"-1201", b"+0160", b"0100", b"+1"),
    "SeriesNumber": (b"99999999999", b"1e3", b"NaN", b"2147483648", b"1\\2", b"12x"),
    "InstanceNumber": (b"99999999999",),
    "SliceThickness": (b"-1", b"0", b"NaN", b"1e999", b"1e10", b"2,5"),
    "LossyImageCompression": (b"YES", b"1"),
    "LossyImageCompressionRatio": (b"inf", b"abc\\2"),
    "PatientSex": (b"?", b"female", b"\xe9"),
    "BodyPartExamined": (b"KOPF/HALS", "GEHÖR".encode(), b"X" * 17, b"<script>"),
    "Modality": (b"M\0R", b"MR\\CT", "МР".encode()),
    "FrameOfReferenceUID": (b"1.2.a", b"9" * 65, "1.٢".encode(), b"1.2\\1.3"),
    "AccessionNumber": (b"A\0B", b"A\x07", b"A" * 65, "A\u202eB".encode(), b"A\xff", b"A\x1b$B"),
    "StudyID": (b"1\n2",),
    "StudyDescription": (b"A\\B", b"D" * 65, b"A\0B", b"\xff\xfe", b"A\tB"),
    "SeriesDescription": (b"T1\\AX", b"T1\x1bX"),
    "PatientName": (b"A\0B", b"A^B\x7f", b"N" * 300),
    "ReferringPhysicianName": (b"A\x00B",),
    "SpecificCharacterSet": (b"ISO_IR 999", b"<b>", b"\xff"),
}


@pytest.mark.parametrize("keyword", BAD)
def test_a_bad_value_is_left_out_and_noted(keyword: str) -> None:
    """The note names the keyword and never the value."""
    for value in BAD[keyword]:
        clean, caveats = pass_gate(**{keyword: value})
        assert keyword not in clean, value
        assert caveats == (Caveat(LEFT_OUT, {"names": (keyword,)}),), value


NUMBERS = {"NumberOfFrames", "BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "SeriesNumber"}
NUMBERS |= {"InstanceNumber", "SliceThickness", "WindowCenter", "WindowWidth", "LossyImageCompressionRatio"}
NUMBERS |= {"ModalityLUTSequence", "ImagePositionPatient", "ImageOrientationPatient"}
"""A number may have a binary representation; what the volume was built from is as it was read."""


@pytest.mark.parametrize("vr", ["SQ", "US", "FD", "OB", "AT"])
def test_a_wrong_representation_is_a_bad_value(vr: str) -> None:
    """Whatever attribute has it, the header passes without it, or is refused where it names the patient."""
    for keyword in keywords():
        if keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            continue  # intake refuses them
        element: object = [] if vr == "SQ" else (vr, b"\1\0\0\0\0\0\0\0")
        given = header(**{keyword: element})  # type: ignore[arg-type]
        try:
            clean, _ = united(given)
        except BadIdentity:
            assert keyword in ("PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence")
        else:
            assert keyword not in clean or keyword in NUMBERS or (vr == "SQ" and not clean[keyword].value), keyword


GOOD = {
    "StudyDate": (b"20260302", b"2026.03.02", b"18991231 ", b"20240229\0"),
    "ContentTime": (b"08", b"0815", b"081500.123456", b"08:15:00"),
    "TimezoneOffsetFromUTC": (b"+0100", b"-1200", b"+1400", b"+0545"),
    "SeriesNumber": (b"3 ", b"0", b"-1", b"2147483647"),
    "BodyPartExamined": (b"BRAIN ", b"brain"),
    "PatientSex": (b"M ", b"f"),
    "StudyDescription": (b"<script>&\"'", "頭部".encode(), b" "),
    "PatientName": (b"Doe^Jane", b"N" * 64, "Müller=山田=やまだ".encode()),
    "SliceThickness": (b"5", b"0.5"),
    "LossyImageCompressionMethod": (b"ISO_10918_1\\ISO_15444_1",),
    "DeidentificationMethod": (b"one\\two",),
}


@pytest.mark.parametrize("keyword", GOOD)
def test_a_good_value_passes_without_a_note(keyword: str) -> None:
    for value in GOOD[keyword]:
        clean, caveats = pass_gate(**{keyword: value})
        assert caveats == (), value
        assert keyword in clean or not value.strip()


def test_old_forms_are_made_new() -> None:
    """Dots in dates, colons in times, small letters in codes, decimals that are too long."""
    clean, _ = pass_gate(
        StudyDate=b"2026.03.02",
        StudyTime=b"08:15:00",
        BodyPartExamined=b"brain",
        ImagePositionPatient=b"-115.000000000000012\\0\\1e2",
    )
    assert (clean.StudyDate, clean.StudyTime, clean.BodyPartExamined) == ("20260302", "081500", "BRAIN")
    assert encoded_text(clean, Tag("ImagePositionPatient")) == b"-115\\0\\1e2"


@pytest.mark.parametrize("keyword", ["PatientID", "IssuerOfPatientID"])
@pytest.mark.parametrize(
    "value", [b"47\x0011", b"47\n11", b"4" * 300, b"47\xff11", "47\u202e11".encode(), "47\u00a011".encode(), b"\x1b$B1"]
)
def test_a_patient_that_no_report_can_name_is_refused(keyword: str, value: bytes) -> None:
    """Without its bad part the identifier could be another patient's. The error holds the keyword, not the value."""
    with pytest.raises(BadIdentity, match=f"{keyword}.*{SERIES}") as caught:
        pass_gate(**{keyword: value})
    assert "47" not in str(caught.value).replace(SERIES, "")


def test_a_name_that_is_all_there_is_must_be_legible() -> None:
    """With an identifier a broken name is left out; without one nobody would be named."""
    with pytest.raises(BadIdentity, match="PatientName"):
        pass_gate(PatientID=b"", PatientName=b"A\0B")
    assert "PatientID" not in pass_gate(PatientID=b"  ")[0]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", b"NW\\PH"),
        ("PatientID", b"4" * 70),
        ("AccessionNumber", b"ACCESSION-2026-00012345"),
        ("AccessionNumber", b"A1\\A2"),
        ("PatientName", b"X" * 70),
        ("PatientName", b"M\xfcller^J"),
    ],
)
def test_irregular_identifiers_are_carried_byte_for_byte_and_noted(keyword: str, value: bytes) -> None:
    """Every system around knows the patient and the order by them."""
    clean, caveats = pass_gate(**{keyword: value})
    assert encoded_text(clean, Tag(keyword)) == value + b" " * (len(value) % 2)
    assert caveats == (Caveat(REPEATED, {"names": (keyword,)}),)


def issuer(**values: str) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        item.add_new(keyword, "UT" if keyword != "UniversalEntityIDType" else "CS", value)
    return item


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_items_are_judged_at_every_depth() -> None:
    """A bad item goes as a whole; an issuer of the Patient ID that cannot be read refuses the series."""
    good, bad = issuer(UniversalEntityID="1.2.3", UniversalEntityIDType="ISO"), issuer(UniversalEntityIDType="I\0SO")
    other = Dataset()
    other.PatientID, other.IssuerOfPatientIDQualifiersSequence = "4712", [bad]
    clean, caveats = pass_gate(
        IssuerOfPatientIDQualifiersSequence=[good],
        IssuerOfAccessionNumberSequence=[bad, good],
        OtherPatientIDsSequence=[other],
    )
    assert clean.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3"
    assert len(clean.IssuerOfAccessionNumberSequence) == 1
    assert "OtherPatientIDsSequence" not in clean
    assert caveats == (Caveat(LEFT_OUT, {"names": ("OtherPatientIDsSequence", "IssuerOfAccessionNumberSequence")}),)
    with pytest.raises(BadIdentity, match="IssuerOfPatientIDQualifiersSequence"):
        pass_gate(IssuerOfPatientIDQualifiersSequence=[bad])


def test_private_and_unknown_attributes_never_pass() -> None:
    """A cleaned header holds what the tables know and nothing else."""
    given = header(InstitutionName=b"HOSPITAL", OperatorsName=b"Somebody")
    given.add_new(0x00091001, "LO", "private")
    clean, caveats = united(given)
    assert {element.keyword for element in clean} <= set(keywords())
    assert caveats == ()


def test_each_attribute_is_noted_once_for_all_instances() -> None:
    """Ten slices with the same fault make one sentence; the stored headers stay as they were."""
    given = [header(ContentDate=b"20261301") for _ in range(10)]
    made, _, caveats = cleaned(given, given[0])
    assert len(made) == 10
    assert caveats == (Caveat(LEFT_OUT, {"names": ("ContentDate",)}),)
    assert encoded_text(given[0], Tag("ContentDate")) == b"20261301"


@pytest.mark.parametrize("language", [item for item in Language if item is not Language.ENGLISH])
def test_notes_are_translated(language: Language) -> None:
    for code in (LEFT_OUT, REPEATED):
        item = Caveat(code, {"names": ("StudyDate", "PatientSex")})
        assert "StudyDate, PatientSex" in caveat(item, language)
        assert caveat(item, language) != caveat(item)


def test_printable_text_has_nothing_that_a_format_forbids() -> None:
    assert printable("A\0B\u202eC\ud800D\u3000E\nF<b>") == "ABCD E F<b>"
