"""Every attribute that results copy, with every odd value: results or a typed refusal, and every result is valid.

The short form turns the odd values over all attributes at once; the long form (nightly) tries each by itself.
"""

from __future__ import annotations

import pytest

from pipeline.patient.source_values import keywords
from pipeline.results.profile import PRESETS, Profile
from tests.forms import short
from tests.odd_values import FULL, ODD, UNWRITABLE, Sweep, may_be_damaged, odd_value, rotation

MAY_REFUSE = {
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "NumberOfFrames",
    "BitsStored",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PhotometricInterpretation",
    "Modality",
    "BodyPartExamined",
    "InstanceNumber",
    "SeriesNumber",
    "SeriesDescription",
    "SliceThickness",
    "WindowCenter",
    "WindowWidth",
    "PatientID",
    "PatientName",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
}
"""Intake, geometry, the protocol or the gate may refuse a series for these: one at a time, or none hides the others."""
NEVER_REFUSED = [keyword for keyword in keywords() if keyword not in MAY_REFUSE]
LIGHT = {"light": Profile(objects=("presentation",))}
KILLERS = {
    "StudyDate": b"00000000",
    "SeriesDate": b"00000000",
    "AcquisitionDate": b"00000000",
    "ContentDate": b"20261301",
    "TimezoneOffsetFromUTC": b"+9999",
    "SeriesNumber": b"99999999999",
    "AccessionNumber": b"ACCESSION\\2026-000000123456789",
    "StudyDescription": b"HEAD\\TRIAL",
    "PatientSex": [],
}
"""What ended in a traceback, or might."""


def finished(sweep: Sweep) -> None:
    assert not sweep.failures, "\n".join(sweep.failures)


def test_what_has_ended_in_a_traceback_does_so_no_more() -> None:
    """Every object of every kind, the PDF in every language, FHIR in both releases, HL7."""
    sweep = Sweep()
    assert sweep.run("killers", KILLERS, profiles=FULL, pdf=True) == "results"
    finished(sweep)


@pytest.mark.parametrize("turn", short([3, 17, 29], 17))
def test_no_attribute_with_an_odd_value_refuses_a_series_that_can_be_read(turn: int) -> None:
    """All attributes that only describe have odd values at once, another one each turn."""
    sweep = Sweep()
    assert sweep.run(f"turn {turn}", rotation(NEVER_REFUSED, turn), implicit=turn % 2 == 0) == "results"
    finished(sweep)


@pytest.mark.nightly
def test_what_names_places_or_scales_is_read_or_refused_with_a_reason() -> None:
    """One attribute at a time."""
    sweep = Sweep()
    for turn, keyword in enumerate(sorted(MAY_REFUSE)):
        sweep.run(keyword, rotation((keyword,), (7 * turn) % len(ODD)), profiles=LIGHT)
    finished(sweep)
    assert len(set(sweep.outcomes.values())) > 1


@pytest.mark.parametrize("value", [b"A\0B", b"4" * 300, b"\xff\xfe", ("US", b"\1\0"), []])
def test_a_patient_that_cannot_be_named_is_refused(value: object) -> None:
    sweep = Sweep()
    assert sweep.run("PatientID", {"PatientID": value}, profiles=LIGHT) == "BAD_IDENTITY"
    finished(sweep)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [("US", b"\1\0"), ("FD", b"\0\0"), ("UT", b"not a UID"), b"1.2\\1.3", None])
def test_a_uid_that_is_none_is_refused(keyword: str, value: object) -> None:
    """Also where it would read as one: the number 1 is no UID, though "1" may be."""
    sweep = Sweep()
    assert sweep.run(keyword, {keyword: value}, profiles=LIGHT) == "INVALID_HEADER"
    finished(sweep)


@pytest.mark.nightly
@pytest.mark.parametrize("keyword", list(keywords()))
def test_every_odd_value_of_every_attribute(keyword: str) -> None:
    """The long form, in explicit and implicit representation by turns."""
    sweep = Sweep()
    for number, (name, value) in enumerate(ODD):
        values = {keyword: odd_value(keyword, name, value)}
        found = sweep.run(f"{keyword}, {name}", values, implicit=number % 2 == 1)
        refusable = keyword in MAY_REFUSE or may_be_damaged(keyword, name) or found == UNWRITABLE
        assert refusable or found == "results" or sweep.failures, (name, found)
    finished(sweep)
    assert list(sweep.outcomes.values()).count(UNWRITABLE) <= 6, "too little was tried"


@pytest.mark.nightly
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("turn", range(0, len(ODD), 9))
def test_every_preset_takes_what_the_gate_lets_through(preset: str, turn: int) -> None:
    sweep = Sweep()
    values = {**rotation(NEVER_REFUSED, turn), "PatientName": b"M\xfcller^J"}
    assert sweep.run(preset, values, profiles={preset: PRESETS[preset]}, pdf=True) == "results"
    finished(sweep)
