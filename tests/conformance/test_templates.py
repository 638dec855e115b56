"""The report follows its templates of PS3.16, row by row, which no validator at hand knows.

The tables below are written from the standard's text: TID 1500, 1001/1002/1004, 1411, 1419, 1501, 300, 4019. Each row
is (relationship, value type, concept, least, most); None means any number. What a non-extensible reader would not know
(visual explanation, the class of a probability) stands in rows of its own, since TID 1411, 1501 and 300 are extensible.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.findings import Outcome
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import build_all, context_of, phantom_context
from tests.unit.pipeline.results.test_segmentation import awkward_masks


@dataclass(frozen=True)
class Row:
    """One row of a template; ``rows`` are its children, ``values`` the code values that it may have."""

    relationship: str
    value_type: str
    concept: str
    least: int
    most: int | None
    rows: tuple[Row, ...] = ()
    values: tuple[str, ...] | None = None


HAS_MOD, HAS_OBS, CONTAINS = "HAS CONCEPT MOD", "HAS OBS CONTEXT", "CONTAINS"

TID_4019 = (
    Row(HAS_MOD, "TEXT", "111001 DCM", 1, 1),  # Algorithm Name
    Row(HAS_MOD, "TEXT", "111003 DCM", 1, 1),  # Algorithm Version
    Row(HAS_MOD, "TEXT", "122405 DCM", 0, 1),  # Algorithm Manufacturer
    Row(HAS_MOD, "TEXT", "111002 DCM", 0, None),  # Algorithm Parameters
    Row(HAS_MOD, "CODE", "111000 DCM", 0, 1, values=("123110",)),  # Algorithm Family
)
EXPLANATION = Row(
    CONTAINS,
    "IMAGE",
    "130401 DCM",
    0,
    None,
    rows=(Row(HAS_MOD, "CODE", "370129005 SCT", 1, 1, values=("130402", "130403", "130404")),),
)


def tid_300(concept: str, least: int, most: int | None, *rows: Row) -> Row:
    """A measurement."""
    return Row(CONTAINS, "NUM", concept, least, most, rows=rows)


TID_1411 = Row(
    CONTAINS,
    "CONTAINER",
    "125007 DCM",
    0,
    None,
    rows=(
        Row(HAS_OBS, "TEXT", "112039 DCM", 1, 1),  # Tracking Identifier
        Row(HAS_OBS, "UIDREF", "112040 DCM", 1, 1),  # Tracking Unique Identifier
        Row(CONTAINS, "CODE", "276214006 SCT", 0, 1, values=("49755003",)),  # Finding category
        Row(CONTAINS, "CODE", "121071 DCM", 1, 1),  # Finding
        Row(HAS_MOD, "CODE", "363698007 SCT", 1, None),  # Finding Site
        *TID_4019,
        tid_300("118565006 SCT", 1, 1),
        tid_300("103339001 SCT", 1, 1),
        tid_300("103340004 SCT", 1, 1),
        tid_300("110852 DCM", 1, 1, Row(HAS_MOD, "CODE", "121401 DCM", 1, 1, values=("373098007",))),
        Row(CONTAINS, "IMAGE", "121191 DCM", 1, 1),  # Referenced Segment
        Row(CONTAINS, "UIDREF", "121232 DCM", 1, 1),  # Source series for segmentation
        EXPLANATION,
    ),
)
TID_1501 = Row(
    CONTAINS,
    "CONTAINER",
    "125007 DCM",
    1,
    1,
    rows=(
        Row(HAS_OBS, "TEXT", "112039 DCM", 1, 1),
        Row(HAS_OBS, "UIDREF", "112040 DCM", 1, 1),
        Row(HAS_MOD, "CODE", "363698007 SCT", 0, None),
        *TID_4019,
        tid_300("122157 DCM", 1, None, Row(HAS_MOD, "CODE", "121071 DCM", 1, 1)),
        EXPLANATION,
    ),
)
TID_1500 = (
    Row(HAS_MOD, "CODE", "121049 DCM", 1, 1),  # Language
    Row(HAS_OBS, "CODE", "121005 DCM", 1, 1, values=("121007",)),  # Observer Type: Device
    Row(HAS_OBS, "UIDREF", "121012 DCM", 1, 1),  # Device Observer UID
    Row(HAS_OBS, "TEXT", "121013 DCM", 0, 1),  # Name
    Row(HAS_OBS, "TEXT", "121014 DCM", 0, 1),  # Manufacturer
    Row(HAS_OBS, "TEXT", "121015 DCM", 0, 1),  # Model Name
    Row(HAS_OBS, "TEXT", "121016 DCM", 0, 1),  # Serial Number
    Row(HAS_MOD, "CODE", "121058 DCM", 1, None),  # Procedure reported
    Row(CONTAINS, "CONTAINER", "126010 DCM", 1, 1),  # Imaging Measurements; its groups are walked by their template
    Row(
        CONTAINS,
        "CONTAINER",
        "C0034375 UMLS",  # Qualitative Evaluations
        0,
        1,
        rows=(
            Row(
                CONTAINS,
                "CODE",
                "705057003 SCT",
                1,
                1,
                values=("52101004", "272519000", "82334004"),
                rows=(Row(HAS_MOD, "CODE", "121071 DCM", 1, 1, values=("108369006",)),),
            ),
            Row(CONTAINS, "TEXT", "121106 DCM", 1, None),
        ),
    ),
)


def concept(item: Dataset) -> str:
    code = item.ConceptNameCodeSequence[0]
    return f"{code.CodeValue} {code.CodingSchemeDesignator}"


def walk(item: Dataset, rows: tuple[Row, ...], path: str) -> list[str]:
    """What of ``item``'s children does not follow ``rows``: unknown, too few, too many, wrong value, wrong order."""
    faults = []
    children = list(item.get("ContentSequence", ()))
    places = []
    for child in children:
        key = (child.RelationshipType, child.ValueType, concept(child))
        place = next((n for n, row in enumerate(rows) if (row.relationship, row.value_type, row.concept) == key), None)
        if place is None:
            faults.append(f"{path}: no row for {key}")
            continue
        places.append(place)
        row = rows[place]
        if row.values is not None and child.ConceptCodeSequence[0].CodeValue not in row.values:
            faults.append(f"{path}/{row.concept}: value {child.ConceptCodeSequence[0].CodeValue}")
        if row.rows or child.ValueType != "CONTAINER":
            faults += walk(child, row.rows, f"{path}/{row.concept}")
        if child.ValueType == "NUM":
            faults += [f"{path}/{row.concept}: {fault}" for fault in number_faults(child)]
    for number, row in enumerate(rows):
        count = places.count(number)
        if count < row.least or (row.most is not None and count > row.most):
            faults.append(f"{path}: {count} × {row.concept}, allowed {row.least} to {row.most}")
    return faults


def number_faults(item: Dataset) -> list[str]:
    """A measurement has one value, in UCUM, that fits a decimal string."""
    if len(item.MeasuredValueSequence) != 1:
        return ["no value"]
    value = item.MeasuredValueSequence[0]
    unit = value.MeasurementUnitsCodeSequence[0]
    faults = [] if unit.CodingSchemeDesignator == "UCUM" else [f"unit in {unit.CodingSchemeDesignator}"]
    return faults if len(str(value.NumericValue)) <= 16 else [*faults, "too long for DS"]


def faults_of(report: Dataset) -> list[str]:
    """Everything in which ``report`` does not follow TID 1500 and what it includes."""
    template = report.ContentTemplateSequence[0]
    faults = []
    if (template.MappingResource, template.TemplateIdentifier) != ("DCMR", "1500"):
        faults.append(f"root template {template.TemplateIdentifier}")
    if concept(report) != "126000 DCM":
        faults.append(f"title {concept(report)}")
    faults += walk(report, TID_1500, "1500")
    (measurements,) = (item for item in report.ContentSequence if concept(item) == "126010 DCM")
    by_template = {"1411": TID_1411, "1501": TID_1501}
    counts = dict.fromkeys(by_template, 0)
    for number, group in enumerate(measurements.ContentSequence, start=1):
        identifier = group.ContentTemplateSequence[0].TemplateIdentifier
        if identifier not in by_template:
            faults.append(f"group {number}: template {identifier}")
            continue
        counts[identifier] += 1
        row = by_template[identifier]
        if (group.RelationshipType, group.ValueType, concept(group)) != (row.relationship, row.value_type, row.concept):
            faults.append(f"group {number}: {group.RelationshipType} {group.ValueType} {concept(group)}")
        faults += walk(group, row.rows, f"{identifier} #{number}")
    if counts["1501"] != 1:
        faults.append(f"{counts['1501']} groups of probabilities")
    return faults


def report_of(context: ResultContext) -> Dataset:
    (item,) = (item for item in build_all(context) if item.role == "report")
    return item.dataset


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_report_of_a_finding_follows_its_templates(plane: phantom.Plane) -> None:
    """TID 1500 with TID 1411 for the lesion and TID 1501 for the probabilities."""
    assert faults_of(report_of(phantom_context(plane, slices=12))) == []


@pytest.mark.parametrize("outcome", [Outcome.NO_FINDING, Outcome.INDETERMINATE])
def test_a_report_without_a_lesion_follows_its_templates(outcome: Outcome) -> None:
    """TID 1500 with TID 1501 alone."""
    assert faults_of(report_of(phantom_context(outcome=outcome, slices=12))) == []


def test_a_report_of_forty_lesions_follows_its_templates() -> None:
    """One TID 1411 group each."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()["forty"])
    assert faults_of(report_of(context)) == []


def test_the_walk_finds_faults() -> None:
    """A missing tracking UID, a private unit, a stray item and a wrong relationship are each reported."""
    context = phantom_context(slices=12)

    def group(report: Dataset) -> Dataset:
        (measurements,) = (item for item in report.ContentSequence if concept(item) == "126010 DCM")
        found: Dataset = measurements.ContentSequence[0]
        return found

    def drop_tracking(report: Dataset) -> None:
        items = group(report).ContentSequence
        items[:] = [item for item in items if concept(item) != "112040 DCM"]

    def private_unit(report: Dataset) -> None:
        number = next(item for item in group(report).ContentSequence if item.ValueType == "NUM")
        number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodingSchemeDesignator = "99X"

    def stray(report: Dataset) -> None:
        group(report).ContentSequence[0].ConceptNameCodeSequence[0].CodeValue = "121106"

    def relationship(report: Dataset) -> None:
        group(report).ContentSequence[0].RelationshipType = "CONTAINS"

    for spoil in (drop_tracking, private_unit, stray, relationship):
        report = report_of(context)
        spoil(report)
        assert faults_of(report), spoil.__name__
