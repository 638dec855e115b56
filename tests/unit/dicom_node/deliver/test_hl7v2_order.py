"""Order and visit in ORU^R01: what of the images' header stands where, within the lengths of 2.5.1."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import hl7
import pytest
from hl7apy.parser import parse_message

from dicom_node.deliver.hl7v2 import oru
from pipeline.report.content import ReportContent
from pipeline.report.patient_study import Issued
from tests.peers.hl7v2 import FINDINGS, MODEL, ORDERED, REFUSED, content_of
from tests.unit.dicom_node.deliver.test_hl7v2_oru import TO, message

LENGTHS: Final[dict[str, dict[int, int]]] = {
    "MSH": {3: 227, 4: 227, 5: 227, 6: 227, 7: 26, 9: 15, 10: 20, 11: 3, 12: 60, 18: 16, 20: 20},
    "PID": {1: 4, 3: 250, 5: 250, 7: 26, 8: 1},
    "PV1": {1: 4, 2: 1, 8: 250, 19: 250},
    "ORC": {1: 2, 2: 22, 3: 22, 12: 250},
    "OBR": {1: 4, 2: 22, 3: 22, 4: 250, 7: 26, 16: 250, 18: 60, 22: 26, 24: 10, 25: 1},
    "OBX": {1: 4, 2: 3, 3: 250, 4: 20, 5: 99999, 6: 250, 11: 1, 14: 26, 17: 250, 18: 22, 19: 26},
}
"""Characters of a repetition of each field that is sent (HL7 2.5.1; OBX-2 takes the three letters of CWE as all do)."""


def with_order(**changes: object) -> ReportContent:
    return replace(content_of(), study=replace(ORDERED, **changes))  # type: ignore[arg-type]


LONG = with_order(
    accession=Issued("A" * 60, "urn:oid:1." + "2" * 60),
    placer_order_number=Issued("P" * 22, "urn:oid:1.2.3"),
    filler_order_number=Issued("F" * 23),
    referring_physician="R" * 300,
    requesting_physician="Q" * 300,
    admission=Issued("V" * 256),
)


@pytest.mark.parametrize(
    "content",
    [
        with_order(),
        LONG,
        content_of(accession=None),
        replace(with_order(), findings=REFUSED),
        content_of(findings=replace(FINDINGS, model=replace(MODEL, title="T" * 300, terms=()))),
    ],
    ids=["all", "long", "none", "refused", "terms"],
)
def test_segments_stand_in_order_and_every_field_fits(content: ReportContent) -> None:
    """ORU_R01 of 2.5.1: MSH, PID, visit, order, OBX. One library judges the structure, by another we count."""
    text = oru.build(content, TO.model_copy(update={"sending_application": "X" * 60})).data.decode()
    assert parse_message(text.rstrip("\r"), find_groups=True).validate()
    parsed = hl7.parse(text)
    assert [str(segment[0]) for segment in parsed][:5] == ["MSH", "PID", "PV1", "ORC", "OBR"]
    assert {str(segment[0]) for segment in parsed[5:]} == {"OBX"}
    for segment in parsed:
        for number, field in enumerate(segment):
            if number and not (str(segment[0]) == "MSH" and number < 3):
                for repetition in str(field).split("~"):
                    assert len(repetition) <= LENGTHS[str(segment[0])].get(number, 0), (str(segment[0]), number)


def test_order_and_visit_are_those_of_the_header() -> None:
    """ORC repeats the numbers of OBR; a person is one repetition, whatever scripts the name has."""
    parsed = message(with_order())
    pv1, orc, obr = (parsed.segment(name) for name in ("PV1", "ORC", "OBR"))
    assert str(pv1[2]) == "U"
    assert str(pv1[8]) == "^Überweiser^Otto^^^Dr.^^^^L^^^^^A"
    assert str(pv1[19]) == "V-9^^^KIS^VN"
    assert str(orc[1]) == "RE"
    assert str(obr[2]) == str(orc[2]) == "P-77^KIS"
    assert str(obr[3]) == str(orc[3])
    assert str(obr[3]).endswith("^CANDELA")
    assert str(obr[16]) == str(orc[12]) == "^Anforderer^Uta^^^^^^^L^^^^^A"
    assert str(obr[18]) == "ACC-1"


def test_nothing_is_sent_that_the_header_lacks() -> None:
    parsed = message(content_of(accession=None))
    assert str(parsed.segment("PV1")) == "PV1|1|U"
    assert [str(field) for field in parsed.segment("ORC")][:3] == ["ORC", "RE", ""]
    assert str(parsed.segment("OBR")[2]) == str(parsed.segment("OBR")[16]) == ""


def test_the_filler_number_of_the_images_is_sent_where_it_is_wanted() -> None:
    """An accession number in OBR-3 has precedence; one that does not fit leaves ours."""
    own = str(message(with_order()).segment("OBR")[3])
    for of, fields, sent in (
        (with_order(), ("OBR-18",), "F-88^^1.2.3^ISO"),
        (with_order(accession=Issued("ACC-1")), ("OBR-3",), "ACC-1"),
        (with_order(filler_order_number=Issued("F" * 23)), ("OBR-18",), own),
        (with_order(filler_order_number=None), ("OBR-18",), own),
    ):
        parsed = message(of, filler_order_number="header", accession_fields=fields)
        assert str(parsed.segment("OBR")[3]) == str(parsed.segment("ORC")[3]) == sent


def test_a_number_keeps_its_authority_only_where_both_have_room() -> None:
    """22 characters for both; a number that is cut would be another order's."""
    for number, sent in (
        (Issued("P" * 18, None, "KIS"), f"{'P' * 18}^KIS"),
        (Issued("P" * 19, None, "KIS"), "P" * 19),
        (Issued("P" * 23, None, "KIS"), ""),
        (Issued("|" * 8), ""),
    ):
        obr = message(with_order(placer_order_number=number, accession=None)).segment("OBR")
        assert str(obr[2]) == sent


def test_a_refusal_names_the_visit_and_no_order() -> None:
    """Neither numbers nor who ordered; whose patient it is and of which visit stays true."""
    parsed = message(replace(with_order(), findings=REFUSED), filler_order_number="header")
    assert not any(text in str(parsed) for text in ("P-77", "F-88", "ACC-1", "Anforderer"))
    assert str(parsed.segment("PV1")[19]) == "V-9^^^KIS^VN"


def test_a_physician_whose_name_has_characters_that_the_set_lacks_is_left_out() -> None:
    """The report arrives all the same, and no name is spelt otherwise."""
    parsed = message(with_order(requesting_physician="Wałęsa^Łucja"), character_set="8859/1")
    assert str(parsed.segment("OBR")[16]) == ""
    assert str(parsed.segment("PV1")[8]).startswith("^Überweiser")
