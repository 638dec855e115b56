"""Reports of every kind of answer follow TID 1500 and the templates of their groups; dcmtk reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.results.profile import ReportFlavour
from tests.conformance.answers import ANSWERS, answer_context
from tests.conformance.synthetic import file_bytes
from tests.conformance.test_answers import FLAVOURS, made, object_of
from tests.conformance.test_dcmtk_reports import run
from tests.conformance.test_templates import (
    CONTAINS,
    HAS_MOD,
    HAS_OBS,
    METHOD,
    SELECTED,
    SIDE,
    TID_1500,
    TID_4019,
    Row,
    concept,
    group_faults,
    order_faults,
    selection_faults,
    tid_300,
    walk,
)
from tests.forms import short


def number(code: Code, *, most: int | None = 1, rows: tuple[Row, ...] = ()) -> Row:
    return tid_300(f"{code.value} {code.scheme}", 0, most, *rows)


MEAN = Row(HAS_MOD, "CODE", "121401 DCM", 1, 1, values=(codes.MEAN.value,))
WHOLE = (
    number(codes.VOLUME, rows=(METHOD,)),
    number(codes.MR_SIGNAL_INTENSITY, rows=(MEAN,)),
    number(codes.ATTENUATION_COEFFICIENT, rows=(MEAN,)),
)
FLAT = (number(codes.LONG_AXIS), number(codes.SHORT_AXIS))
BOXED = (number(codes.LENGTH), number(codes.WIDTH), number(codes.DEPTH), number(codes.PROBABILITY))
REGION = Row(CONTAINS, "SCOORD", "111030 DCM", 1, 1, rows=(Row(SELECTED, "IMAGE", "260753009 SCT", 1, 1),))
SEGMENT = (Row(CONTAINS, "IMAGE", "121191 DCM", 1, 1), Row(CONTAINS, "UIDREF", "121232 DCM", 1, 1))
CATEGORIES = (codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE.value, codes.ANATOMICAL_STRUCTURE.value)


def group(*rows: Row) -> Row:
    named = (
        Row(HAS_OBS, "TEXT", "112039 DCM", 1, 1),
        Row(HAS_OBS, "UIDREF", "112040 DCM", 1, 1),
        Row(CONTAINS, "CODE", "276214006 SCT", 0, 1, values=CATEGORIES),
        Row(CONTAINS, "CODE", "121071 DCM", 0, 1),
        Row(HAS_MOD, "CODE", "363698007 SCT", 0, None, rows=SIDE),
        Row(HAS_OBS, "TEXT", "C2348792 UMLS", 0, 1),
        *TID_4019,
    )
    return Row(CONTAINS, "CONTAINER", "125007 DCM", 0, None, rows=(*named, *rows))


def groups_of(name: str) -> dict[str, Row]:
    """The templates of the groups of an answer: estimates are numbers of the bundle's own concepts."""
    findings = answer_context(name).findings
    estimates = tuple(number(item.code) for item in findings.quantities)
    shares = number(codes.PROBABILITY, rows=(Row(HAS_MOD, "CODE", "121071 DCM", 1, 1),))
    plain = (shares,) if findings.probabilities else (*WHOLE, *estimates)
    return {
        "1410": group(*FLAT, *BOXED, REGION),
        "1411": group(*WHOLE, *FLAT, *SEGMENT),
        "1501": group(*plain),
    }


EVALUATIONS = next(row for row in TID_1500 if row.concept == "C0034375 UMLS")
(PRESENCE,) = EVALUATIONS.rows


def root_rows(name: str) -> tuple[Row, ...]:
    """TID 1500 as a report of this answer must fill it: presence only where the model looks for something."""
    model = answer_context(name).findings.model
    sought = () if model.target is None else (model.target.value,)
    target = Row(HAS_MOD, "CODE", "121071 DCM", 1, 1, values=sought)
    presence = Row(CONTAINS, "CODE", PRESENCE.concept, len(sought), len(sought), rows=(target,), values=PRESENCE.values)
    classes = Row(CONTAINS, "CODE", "121071 DCM", 0, None, values=tuple(term.code.value for term in model.terms))
    measures = answer_context(name).findings
    any_group = bool(measures.regions or measures.probabilities or measures.quantities)
    comment = Row(CONTAINS, "TEXT", codes.COMMENT.value + " DCM", 0, 0 if any_group else 1)
    least = 1 if sought or not any_group else 0
    evaluations = Row(CONTAINS, "CONTAINER", EVALUATIONS.concept, least, 1, rows=(presence, classes, comment))
    rows = [evaluations if row is EVALUATIONS else row for row in TID_1500]
    return tuple(
        Row(CONTAINS, "CONTAINER", "126010 DCM", int(any_group), int(any_group)) if row.concept == "126010 DCM" else row
        for row in rows
    )


def faults_of(report: Dataset, name: str) -> list[str]:
    faults = walk(report, root_rows(name), "1500") + order_faults(report, root_rows(name))
    for item in (item for item in report.ContentSequence if concept(item) == "126010 DCM"):
        for index, one in enumerate(item.ContentSequence):
            faults += group_faults(one, groups_of(name), f"group {index}")
    return faults


@pytest.mark.parametrize("flavour", short(FLAVOURS, "both"))
@pytest.mark.parametrize("name", ANSWERS)
def test_a_report_follows_its_templates(name: str, flavour: ReportFlavour) -> None:
    report = object_of(name, "report", flavour)
    assert report is not None
    assert faults_of(report, name) == []


@pytest.mark.parametrize("name", ANSWERS)
def test_a_selection_follows_its_template(name: str) -> None:
    selection = object_of(name, "keyobjects")
    assert selection is not None
    assert selection_faults(selection) == []


@pytest.mark.parametrize("name", ANSWERS)
def test_dcmtk_reads_every_document(name: str, tmp_path: Path) -> None:
    for item in made(name, "both"):
        if item.role in ("report", "keyobjects"):
            path = tmp_path / item.filename
            path.write_bytes(file_bytes(item.dataset))
            assert run("dsrdump", path)
