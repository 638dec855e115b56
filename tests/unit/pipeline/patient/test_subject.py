"""Whose series it is: every instance is compared, and what differs is refused, noted or accepted (docs/intake.md)."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import MixedPatients, MixedStudies, Refused
from pipeline.patient.attributes import carry_patient_and_study, readable_name
from pipeline.patient.naming import Name, name_of, named_by, same_name
from pipeline.patient.source_values import cleaned
from pipeline.patient.subject import contradiction, groups_of, reconcile
from pipeline.reading.files import Series
from pipeline.report.content import patient_of, study_of
from pipeline.report.patient_study import Issued, Study

Change = dict[str, object]
START = phantom.head_phantom(slices=3, matrix=16)[0]


def instance(number: int = 1, **values: object) -> Dataset:
    """One instance as read from a file. A value of None leaves the attribute out, bytes go in as they are."""
    ds = copy.deepcopy(START)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.{1000 + number}"
    ds.InstanceNumber = number
    ds.SpecificCharacterSet = "ISO_IR 192"
    start: Change = {
        "PatientID": "123",
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "19700131",
        "PatientSex": "F",
        "AccessionNumber": "A1",
    }
    values = {**start, **values}
    for keyword, value in values.items():
        if value is None:
            ds.pop(Tag(keyword), None)
        elif not isinstance(value, bytes):
            setattr(ds, keyword, value)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    read = pydicom.dcmread(io.BytesIO(buffer.getvalue()))
    for keyword, value in values.items():
        if isinstance(value, bytes):
            tag = Tag(keyword)
            read[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    return read


def series(*changes: Change) -> list[Dataset]:
    """Two instances for each of ``changes``."""
    return [instance(2 * k + n, **change) for k, change in enumerate(changes) for n in (1, 2)]


def issuer(entity: str, **more: str) -> list[Dataset]:
    item = Dataset()
    item.UniversalEntityID, item.UniversalEntityIDType = entity, "ISO"
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return [item]


REFUSED: list[tuple[str, Change, Change]] = [
    ("PatientID differs", {}, {"PatientID": "124"}),
    ("PatientID differs", {"PatientID": "ab"}, {"PatientID": "AB"}),
    ("PatientID differs", {"PatientID": b"\xff1"}, {"PatientID": b"\xfe1"}),
    ("PatientID differs", {"PatientID": "1\\2"}, {"PatientID": "1"}),
    ("IssuerOfPatientID differs", {"IssuerOfPatientID": "NORTH"}, {"IssuerOfPatientID": "SOUTH"}),
    (
        "IssuerOfPatientIDQualifiersSequence differs",
        {"IssuerOfPatientIDQualifiersSequence": issuer("1.2.3")},
        {"IssuerOfPatientIDQualifiersSequence": issuer("1.2.4")},
    ),
    (
        "IssuerOfPatientIDQualifiersSequence differs",
        {"IssuerOfPatientIDQualifiersSequence": issuer("1.2.3", IdentifierTypeCode="MR")},
        {"IssuerOfPatientIDQualifiersSequence": issuer("1.2.3", IdentifierTypeCode="SS")},
    ),
    ("PatientName differs", {}, {"PatientName": "Roe^Jane"}),
    ("PatientName differs", {}, {"PatientName": "Doe^Joan"}),
    ("PatientName differs", {"PatientName": "Yamada^Tarou=山田^太郎"}, {"PatientName": "Yamada^Tarou=山田^次郎"}),
    ("PatientName differs", {"PatientName": "か"}, {"PatientName": "が"}),
    ("PatientID is missing", {}, {"PatientID": "", "PatientName": ""}),
    ("PatientID is missing", {}, {"PatientID": None, "PatientBirthDate": ""}),
    ("PatientID is missing", {"PatientBirthDate": "***"}, {"PatientID": "", "PatientBirthDate": "***"}),
    ("PatientBirthDate differs", {}, {"PatientID": "", "PatientBirthDate": "19700130"}),
    ("PatientName differs", {"PatientID": ""}, {"PatientID": "", "PatientName": "Roe^Jane"}),
    ("PatientID is missing", {"PatientID": ""}, {"PatientID": "", "PatientName": ""}),
    ("PatientID is missing", {"PatientID": ""}, {"PatientID": "", "PatientBirthDate": ""}),
]


@pytest.mark.parametrize("turned", [False, True])
def test_images_that_may_show_two_patients_are_refused(turned: bool) -> None:
    """With counts and UIDs, and without a word of the patient; whichever half is first."""
    for why, one, other in REFUSED:
        datasets = series(other, one) if turned else series(one, other)
        with pytest.raises(MixedPatients, match=why) as refusal:
            reconcile(datasets)
        text = str(refusal.value)
        assert "2 instances as 2.25.1001, 2 instances as 2.25.1003" in text, (why, one, other)
        values = [str(ds.get(keyword)) for ds in datasets for keyword in ("PatientName", "PatientBirthDate")]
        assert not any(value in text for value in values if value)


NAMING = ("PatientID", "PatientName", "PatientBirthDate")
SAME: list[tuple[Change, Change]] = [
    ({}, {}),
    ({"PatientID": "123 "}, {"PatientID": " 123"}),
    ({"PatientID": b"123\0"}, {}),
    ({"PatientBirthDate": b"1970.01.31"}, {}),
    ({"PatientName": b"Doe^Jane^^^ "}, {"PatientName": "Doe^Jane"}),
    ({"PatientName": "Doe^Jörg"}, {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Doe^Jörg"}),
    ({"PatientName": "山田^太郎"}, {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "山田^太郎"}),
    ({"IssuerOfPatientID": "North"}, {"IssuerOfPatientID": "NORTH "}),
    ({"PatientSex": "F"}, {"PatientSex": b"f"}),
    (dict.fromkeys(NAMING, ""), dict.fromkeys(NAMING)),
]


def test_what_only_padding_or_the_character_set_tells_apart_is_the_same() -> None:
    """Nothing is noted of it, whichever half is first."""
    for one, other in SAME:
        for datasets in (series(one, other), series(other, one)):
            assert reconcile(datasets).caveats == (), (one, other)


def test_names_that_only_their_writing_tells_apart_are_one_name_and_noted() -> None:
    spelled = [
        ("DOE^JANE", "Doe^Jane"),
        ("Doe Jane", "Doe^Jane"),
        ("Doe, Jane", "Doe^Jane"),
        ("Müller^Jörg", "Mueller^Joerg"),
        ("Müller^Jörg", "Muller^Jorg"),
        ("Ångström^Ødegård", "AANGSTROEM^OEDEGAARD"),
        ("O'Neil^Mary-Ann", "ONeil^Mary Ann"),
        ("Nuñez^Zoë", "NUNEZ^ZOE"),
        ("Straße^Łukasz", "Strasse^Lukasz"),
        ("Doe^Jane^^Dr", "Doe^Jane"),
        ("Doe^Jane^Quinn", "Doe^Jane"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou"),
        ("Yamada^Tarou=山田^太郎", "山田^太郎"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ^タロウ"),
    ]
    for one, other in spelled:
        for pair in ((one, other), (other, one)):
            got = reconcile(series(*({"PatientName": name} for name in pair)))
            assert got.caveats == (Caveat(CaveatCode.NAME_SPELLINGS_DIFFER),), pair
            assert "".join(str(got.header.PatientName)) in pair


def test_a_character_set_that_is_not_declared_or_cannot_be_true_is_guessed() -> None:
    """UTF-8 that nobody declared, Latin-1 declared as UTF-8: the same bytes or the likely text are the same name."""
    right: Change = {"PatientName": "Doe^Jörg"}
    for wrong in (
        {"SpecificCharacterSet": None, "PatientName": "Doe^Jörg".encode()},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Doe^Jörg".encode("latin-1")},
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Doe^Jörg".encode()},
    ):
        got = reconcile(series(wrong, right))
        assert set(got.caveats) <= {Caveat(CaveatCode.NAME_SPELLINGS_DIFFER)}


LEFT: list[tuple[str, Change]] = [
    ("PatientBirthDate", {"PatientBirthDate": "19700130"}),
    ("PatientSex", {"PatientSex": "M"}),
    ("AccessionNumber", {"AccessionNumber": "A2"}),
    ("IssuerOfAccessionNumberSequence", {"IssuerOfAccessionNumberSequence": issuer("1.2.5")}),
    ("StudyID", {"StudyID": "7"}),
    ("PatientBirthTime", {"PatientBirthTime": "1200"}),
    ("PatientIdentityRemoved", {"PatientIdentityRemoved": "YES"}),
    ("OtherPatientIDsSequence", {"OtherPatientIDsSequence": issuer("1.2.6", PatientID="9")}),
]
BESIDE: Change = {
    "IssuerOfAccessionNumberSequence": issuer("1.2.4"),
    "StudyID": "6",
    "PatientBirthTime": "1100",
    "PatientIdentityRemoved": "NO",
    "OtherPatientIDsSequence": issuer("1.2.6", PatientID="8"),
}


def test_what_differs_without_naming_another_patient_is_left_out_and_noted() -> None:
    """It stays out of the copied attributes and of what reports say; the rest is there."""
    for keyword, change in LEFT:
        got = reconcile(series(BESIDE, {**BESIDE, **change}))
        assert got.caveats == (Caveat(CaveatCode.ATTRIBUTES_DIFFER, {"attributes": (keyword,)}),)
        made = Dataset()
        carry_patient_and_study(made, got.header)
        assert not made.get(keyword), keyword
        assert made.PatientID == "123"
        assert (patient_of(got.header).birth_date == "") == (keyword == "PatientBirthDate")
        assert (patient_of(got.header).sex == "") == (keyword == "PatientSex")
        ordered = keyword not in ("AccessionNumber", "IssuerOfAccessionNumberSequence")
        assert bool(study_of(got.header).accession) == ordered


def test_an_order_is_not_closed_by_half_of_what_names_it() -> None:
    """An accession number that differs takes its issuer along."""
    got = reconcile(series(BESIDE, {**BESIDE, "AccessionNumber": "A2"}))
    assert "IssuerOfAccessionNumberSequence" not in got.header


FILLS: list[tuple[str, Change, Change]] = [
    ("PatientID", {}, {"PatientID": ""}),
    ("PatientID", {}, {"PatientID": None}),
    ("PatientName", {}, {"PatientName": ""}),
    ("PatientBirthDate", {}, {"PatientBirthDate": ""}),
    ("PatientBirthDate", {}, {"PatientBirthDate": b"00000000"}),
    ("PatientSex", {}, {"PatientSex": None}),
    ("AccessionNumber", {}, {"AccessionNumber": ""}),
    ("IssuerOfPatientID", {"IssuerOfPatientID": "NORTH"}, {}),
    ("IssuerOfPatientIDQualifiersSequence", {"IssuerOfPatientIDQualifiersSequence": issuer("1.2.3")}, {}),
]


def test_what_a_part_lacks_is_taken_from_the_others_and_noted() -> None:
    """The half without an ID gets the ID of the other: name and birth date agree."""
    for keyword, whole, part in FILLS:
        for datasets in (series(whole, part), series(part, whole)):
            got = reconcile(datasets)
            assert got.caveats == (Caveat(CaveatCode.ATTRIBUTES_FILLED_IN, {"attributes": (keyword,)}),), keyword
            assert named_by(got.header).patient_id == "123"
            full = next(ds for ds in datasets if ds.get(keyword) and str(ds.get(keyword)) != "00000000")
            assert got.header[keyword].value == full[keyword].value


def test_parts_that_lack_different_things_make_one_identity() -> None:
    """Name from one, sex from the other; bytes that would read otherwise in the other's character set are left out."""
    got = reconcile(series({"PatientSex": ""}, {"PatientName": "", "SpecificCharacterSet": "ISO_IR 100"}))
    assert (str(got.header.PatientName), got.header.PatientSex) == ("Doe^Jane", "F")
    german: Change = {"PatientName": "", "IssuerOfPatientID": "X", "SpecificCharacterSet": "ISO_IR 100"}
    got = reconcile(series({"PatientName": "Doe^Jörg"}, german))
    assert not got.header.get("PatientName")
    assert Caveat(CaveatCode.ATTRIBUTES_DIFFER, {"attributes": ("PatientName",)}) in got.caveats


def test_the_name_goes_out_as_bytes_of_its_own_character_set() -> None:
    """Half in Latin-1, half in UTF-8: the results are one of them, whole, and a reader sees the name."""
    datasets = series(
        {"PatientName": "Doe^Jörg", "SpecificCharacterSet": "ISO_IR 100", "PatientSex": ""}, {"PatientName": "Doe^Jörg"}
    )
    got = reconcile(datasets)
    made = Dataset()
    carry_patient_and_study(made, got.header)
    buffer = io.BytesIO()
    made.save_as(buffer, implicit_vr=False, little_endian=True)
    again = pydicom.dcmread(io.BytesIO(buffer.getvalue()), force=True)
    assert readable_name(again) == ("Doe, Jörg",)
    assert again.SpecificCharacterSet == "ISO_IR 192"
    assert patient_of(got.header).name == "Doe, Jörg"


def test_two_studies_are_refused_whatever_an_operator_chooses() -> None:
    datasets = series({}, {"StudyInstanceUID": "2.25.77"})
    for chosen in (None, "2.25.1001"):
        with pytest.raises(MixedStudies, match=r"2 studies.*2 instances as 2\.25\.1001"):
            reconcile(datasets, chosen)
    assert reconcile(series({"StudyInstanceUID": b"2.25.77\0"}, {"StudyInstanceUID": "2.25.77"})).caveats == ()


def test_an_operator_chooses_an_instance_and_the_results_say_so() -> None:
    datasets = series({}, {"PatientID": "124", "PatientBirthDate": "19800101", "AccessionNumber": "B"})
    got = reconcile(datasets, "2.25.1004")
    assert got.caveats == (Caveat(CaveatCode.IDENTITY_CHOSEN),)
    assert (got.header.PatientID, got.header.PatientBirthDate, got.header.AccessionNumber) == ("124", "19800101", "B")
    assert reconcile(series({}, {}), "2.25.1002").caveats == ()
    with pytest.raises(Refused, match="not one of the series"):
        reconcile(datasets, "2.25.9")


def test_the_groups_show_where_they_differ() -> None:
    """For `candela jobs identity`: counts, UIDs, keywords; `repr` shows no value of a patient."""
    datasets = [*series({}, {"PatientID": "124"}), instance(9)]
    first, second = groups_of({str(ds.SOPInstanceUID): ds for ds in datasets})
    assert (len(first.sop_instance_uids), first.differs) == (3, ())
    assert second.differs == ("PatientID",)
    assert "Doe" not in repr((first, second))


def test_across_series_only_what_contradicts_counts() -> None:
    """A series without an ID, or of another birth date under the same ID, does not name another patient."""
    whole = named_by(instance())
    for same in ({"PatientID": ""}, {"PatientBirthDate": "19800101"}, {"PatientID": "", "PatientName": ""}):
        assert contradiction(whole, named_by(instance(**same))) == ""
    for other in ({"PatientID": "124"}, {"PatientName": "Roe^Jane"}, {"PatientID": "", "PatientName": "Roe^Jane"}):
        assert contradiction(whole, named_by(instance(**other)))


def test_reading_a_name_leaves_its_bytes() -> None:
    ds = instance(PatientName="Doe^Jörg", SpecificCharacterSet="ISO_IR 100")
    before = ds.get_item("PatientName")
    assert name_of(ds).text == "Doe^Jörg"
    assert ds.get_item("PatientName") is before
    assert not same_name(name_of(ds), Name("x", b"x", ((0, frozenset({("x", "", "", "", "")})),)))


def test_many_identities_are_refused_and_not_compared_for_ever() -> None:
    datasets = [instance(number, StudyID=str(number)) for number in range(1, 60)]
    with pytest.raises(MixedPatients, match="more than 50"):
        reconcile(datasets)


def test_the_header_that_speaks_is_not_changed() -> None:
    datasets = series({}, {"PatientBirthDate": "19700130"})
    reconcile(datasets)
    assert Series(tuple(datasets)).header.PatientBirthDate == "19700131"


ORDERS: list[Callable[[list[Dataset]], list[Dataset]]] = [list, lambda items: items[::-1]]


def test_the_order_of_the_files_does_not_matter() -> None:
    """The same series makes the same bytes, however a folder lists it."""
    datasets = series({"PatientName": "DOE^JANE"}, {"PatientName": "Doe^Jane", "PatientSex": ""})
    made = []
    for order in ORDERS:
        ds = Dataset()
        carry_patient_and_study(ds, reconcile(order(datasets)).header)
        buffer = io.BytesIO()
        ds.save_as(buffer, implicit_vr=False, little_endian=True)
        made.append(buffer.getvalue())
    assert made[0] == made[1]


ORDER: Change = {
    "RequestingPhysician": "Anforderer^Ünal",
    "PlacerOrderNumberImagingServiceRequest": "P-77",
    "OrderPlacerIdentifierSequence": issuer("1.2.3", LocalNamespaceEntityID="KIS"),
    "FillerOrderNumberImagingServiceRequest": "F-88",
    "AdmissionID": "V-9",
}


def order_of(*changes: Change) -> tuple[Study, tuple[Caveat, ...]]:
    """The study of results, as the gate lets it through."""
    subject = reconcile(series(*changes))
    (_,), identity, caveats = cleaned((START,), subject.header)
    return study_of(identity), (*subject.caveats, *caveats)


def test_reports_name_order_and_visit_of_the_images() -> None:
    """With the issuers that the header states: the universal one before the local name. What is empty names nothing."""
    namespace = Dataset()
    namespace.LocalNamespaceEntityID = "RIS"
    study, caveats = order_of({**ORDER, "OrderFillerIdentifierSequence": [namespace]})
    assert study.placer_order_number == Issued("P-77", "urn:oid:1.2.3")
    assert study.filler_order_number == Issued("F-88", None, "RIS")
    assert study.admission == Issued("V-9")
    assert study.requesting_physician == "Anforderer^Ünal"
    assert caveats == ()
    bare, _ = order_of({})
    assert (bare.placer_order_number, bare.admission, bare.requesting_physician) == (None, None, "")


def test_objects_do_not_copy_the_order() -> None:
    """It has no place in their modules."""
    made = Dataset()
    carry_patient_and_study(made, reconcile(series(ORDER)).header)
    assert not set(ORDER) & {element.keyword for element in made}


@pytest.mark.parametrize(
    ("keyword", "value", "left_out"),
    [
        ("PlacerOrderNumberImagingServiceRequest", "P-78", "placer_order_number"),
        ("OrderPlacerIdentifierSequence", issuer("1.2.4"), "placer_order_number"),
        ("AdmissionID", "V-10", "admission"),
        ("RequestingPhysician", "Another", "requesting_physician"),
    ],
)
def test_an_order_in_which_the_images_differ_is_left_out_and_said(keyword: str, value: object, left_out: str) -> None:
    """Neither of two is right for both; what only some images lack is no difference."""
    study, caveats = order_of(ORDER, {**ORDER, keyword: value})
    assert not getattr(study, left_out)
    assert study.filler_order_number == Issued("F-88")
    assert caveats == (Caveat(CaveatCode.ATTRIBUTES_DIFFER, {"attributes": (keyword,)}),)
    assert order_of(ORDER, {**ORDER, keyword: None})[1] == ()


def test_an_order_number_that_no_format_repeats_is_left_out() -> None:
    study, caveats = order_of({**ORDER, "PlacerOrderNumberImagingServiceRequest": b"P\0007"})
    assert study.placer_order_number is None
    assert caveats[0].code is CaveatCode.INVALID_VALUES_LEFT_OUT
