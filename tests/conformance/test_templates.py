"""Reports and key object selections follow their templates of PS3.16, row by row, which no validator at hand knows.

The tables below are written from the standard's text: TID 1500, 1001/1002/1004, 1410, 1411, 1419, 1501, 300, 4019 and
2010. Each row is (relationship, value type, concept, least, most); None means any number. What a non-extensible reader
would not know (visual explanation, the class of a probability) stands in rows of its own, since TID 1410, 1411, 1501
and 300 are extensible.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.findings.model import Outcome
from pipeline.results.profile import Profile, ReportFlavour
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import EVERYTHING, UNPRINTED, build_all, context_of, phantom_context
from tests.forms import short
from tests.unit.pipeline.results.seg.test_segmentation import awkward_masks


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
SELECTED = "SELECTED FROM"

TID_4019 = (  # in full in the first group of a report (`detail_faults`)
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


SIDE = (
    Row(HAS_MOD, "CODE", "272741003 SCT", 0, 1, values=("7771000", "24028007", "51440002")),  # Laterality
    Row(HAS_MOD, "CODE", "106233006 SCT", 0, 1, values=("130290",)),  # Topographical modifier
)
METHOD = Row(HAS_MOD, "CODE", "370129005 SCT", 1, 1, values=("126030",))


def tid_300(concept: str, least: int, most: int | None, *rows: Row) -> Row:
    """A measurement."""
    return Row(CONTAINS, "NUM", concept, least, most, rows=rows)


def group(*rows: Row) -> Row:
    """A measurement group about a lesion: who it is, what it is, where, and who says so; then ``rows``."""
    return Row(
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
            Row(HAS_MOD, "CODE", "363698007 SCT", 1, None, rows=SIDE),  # Finding Site
            Row(HAS_OBS, "TEXT", "C2348792 UMLS", 0, 1),  # Time Point (TID 1502)
            *TID_4019,
            Row(CONTAINS, "CODE", "408729009 SCT", 0, 1, values=("415684004",)),  # a qualitative evaluation
            *rows,
            EXPLANATION,
        ),
    )


MEAN_SIGNAL = tid_300("110852 DCM", 1, 1, Row(HAS_MOD, "CODE", "121401 DCM", 1, 1, values=("373098007",)))
TID_1410 = group(
    tid_300("103339001 SCT", 1, 1),
    tid_300("103340004 SCT", 1, 1),
    Row(
        CONTAINS,
        "SCOORD",
        "111030 DCM",  # Image Region
        1,
        1,
        rows=(Row(SELECTED, "IMAGE", "260753009 SCT", 1, 1),),
    ),
)
TID_1501_OF_A_LESION = group(tid_300("118565006 SCT", 1, 1, METHOD), MEAN_SIGNAL)
TID_1411 = group(
    tid_300("118565006 SCT", 1, 1, METHOD),
    tid_300("103339001 SCT", 1, 1),
    tid_300("103340004 SCT", 1, 1),
    MEAN_SIGNAL,
    Row(CONTAINS, "IMAGE", "121191 DCM", 1, 1),  # Referenced Segment
    Row(CONTAINS, "UIDREF", "121232 DCM", 1, 1),  # Source series for segmentation
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
        tid_300("122157 DCM", 1, 1, Row(HAS_MOD, "CODE", "121071 DCM", 1, 1)),
        EXPLANATION,
    ),
)
HAS_ACQ = "HAS ACQ CONTEXT"
TID_1600 = Row(
    CONTAINS,
    "CONTAINER",
    "111028 DCM",  # Image Library
    0,
    1,
    rows=(
        Row(
            CONTAINS,
            "CONTAINER",
            "126200 DCM",  # Image Library Group
            1,
            None,
            rows=(  # TID 1602, then TID 1601
                Row(HAS_ACQ, "CODE", "121139 DCM", 1, 1),  # Modality
                Row(HAS_ACQ, "UIDREF", "112227 DCM", 0, 1),  # Frame of Reference UID
                Row(CONTAINS, "IMAGE", "260753009 SCT", 1, None),
            ),
        ),
    ),
)
CONCLUSIONS = Row(  # an extension
    CONTAINS,
    "CONTAINER",
    "121076 DCM",
    1,
    1,
    rows=(Row(CONTAINS, "TEXT", "121077 DCM", 1, 2), Row(CONTAINS, "TEXT", "121106 DCM", 1, None)),
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
    CONCLUSIONS,
    TID_1600,
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
        ),
    ),
)


TID_2010 = (
    Row(HAS_MOD, "CODE", "121049 DCM", 0, 1),  # Language (TID 1204)
    Row(HAS_OBS, "CODE", "121005 DCM", 1, 1, values=("121007",)),
    Row(HAS_OBS, "UIDREF", "121012 DCM", 1, 1),
    Row(HAS_OBS, "TEXT", "121013 DCM", 0, 1),
    Row(HAS_OBS, "TEXT", "121014 DCM", 0, 1),
    Row(HAS_OBS, "TEXT", "121015 DCM", 0, 1),
    Row(HAS_OBS, "TEXT", "121016 DCM", 0, 1),
    Row(CONTAINS, "TEXT", "113012 DCM", 0, 1),  # Key Object Description
    Row(CONTAINS, "IMAGE", "260753009 SCT", 1, None),
    Row(CONTAINS, "COMPOSITE", "260753009 SCT", 0, None),
)
CID_7021 = ("126000 DCM", "126001 DCM", "18748-4 LN")
"""Titles of measurement reports, those of them that we use; the last extends the context group, which is a baseline."""
CID_7010 = ("113000 DCM",)
"""Of the key object titles the one that we use: "Of Interest"."""


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
    if concept(report) not in CID_7021:
        faults.append(f"title {concept(report)}")
    faults += walk(report, TID_1500, "1500") + order_faults(report, TID_1500)
    (measurements,) = (item for item in report.ContentSequence if concept(item) == "126010 DCM")
    of_classes = [item for item in measurements.ContentSequence if is_of_class(item)]
    of_lesions = [item for item in measurements.ContentSequence if not is_of_class(item)]
    faults += [] if of_classes else ["no group of probabilities"]
    faults += detail_faults(measurements)
    by_template = {"1410": TID_1410, "1411": TID_1411, "1501": TID_1501_OF_A_LESION}
    for number, item in enumerate(of_lesions, start=1):
        faults += group_faults(item, by_template, f"group {number}")
    for number, item in enumerate(of_classes, start=1):
        faults += group_faults(item, {"1501": TID_1501}, f"class {number}")
    return faults


def is_of_class(group: Dataset) -> bool:
    """Whether a measurement group is about the probability of a class."""
    return any(concept(item) == "122157 DCM" for item in group.ContentSequence)


def order_faults(report: Dataset, rows: tuple[Row, ...]) -> list[str]:
    """Items that stand before one of an earlier row: the order of TID 1500 is significant."""
    order = [row.concept for row in rows]
    places = [order.index(concept(item)) for item in report.ContentSequence if concept(item) in order]
    return [] if places == sorted(places) else [f"order {places}"]


def detail_faults(measurements: Dataset) -> list[str]:
    """The first group identifies the algorithm in full; the others by name and version."""
    details = {"122405 DCM", "111002 DCM", "111000 DCM"}
    found = [details & {concept(item) for item in group.ContentSequence} for group in measurements.ContentSequence]
    return [] if found[0] == details and not any(found[1:]) else [f"algorithm identification {found}"]


def group_faults(item: Dataset, by_template: dict[str, Row], path: str) -> list[str]:
    """What of a measurement group does not follow the template that it names."""
    identifier = item.ContentTemplateSequence[0].TemplateIdentifier
    if identifier not in by_template:
        return [f"{path}: template {identifier}"]
    row = by_template[identifier]
    key = (item.RelationshipType, item.ValueType, concept(item))
    faults = [] if key == (row.relationship, row.value_type, row.concept) else [f"{path}: {key}"]
    return faults + walk(item, row.rows, f"{identifier} {path}")


def templates_of(report: Dataset) -> list[str]:
    """The template of each measurement group, in order."""
    (measurements,) = (item for item in report.ContentSequence if concept(item) == "126010 DCM")
    return [item.ContentTemplateSequence[0].TemplateIdentifier for item in measurements.ContentSequence]


def selection_faults(ds: Dataset) -> list[str]:
    """Everything in which a key object selection does not follow TID 2010."""
    template = ds.ContentTemplateSequence[0]
    faults = [] if (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "2010") else ["root template"]
    if concept(ds) not in CID_7010:
        faults.append(f"title {concept(ds)}")
    return faults + walk(ds, TID_2010, "2010")


def report_of(context: ResultContext, flavour: ReportFlavour = "volumetric", role: str = "report") -> Dataset:
    """The object of a role, to be spoiled at will."""
    wanted = UNPRINTED if role == "report" else EVERYTHING
    profile = wanted.model_copy(update={"report_flavour": flavour})
    (item,) = (item for item in build_all(context, profile) if item.role == role)
    return deepcopy(item.dataset)


FLAVOURS: dict[ReportFlavour, list[str]] = {
    "volumetric": ["1411"],
    "planar": ["1410", "1501"],
    "both": ["1411", "1410"],
}


@pytest.mark.parametrize("flavour", short(FLAVOURS, "both"))
@pytest.mark.parametrize("name", short(awkward_masks(), "one voxel", "border"))
def test_every_flavour_of_every_lesion_follows_its_templates(name: str, flavour: ReportFlavour) -> None:
    """A volumetric group (TID 1411), an outline (TID 1410) with what no plane holds (TID 1501), or both; any mask."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()[name])
    profile = Profile(objects=("segmentation", "report"), report_flavour=flavour)
    (report,) = (item.dataset for item in build_all(context, profile) if item.role == "report")
    assert faults_of(report) == []
    assert templates_of(report) == FLAVOURS[flavour] * len(context.findings.regions) + ["1501"] * 4


@pytest.mark.parametrize("outcome", list(Outcome)[:3])
def test_a_key_object_selection_follows_its_template(outcome: Outcome) -> None:
    """TID 2010: observer, description, then images and other objects, nothing else."""
    assert selection_faults(report_of(phantom_context(outcome=outcome, slices=12), role="keyobjects")) == []


def test_the_walk_finds_faults_of_a_selection() -> None:
    """Another title, an item that is none of the template's, and a selection of nothing are each reported."""

    def title(ds: Dataset) -> None:
        ds.ConceptNameCodeSequence[0].CodeValue = "113030"

    def stray(ds: Dataset) -> None:
        ds.ContentSequence[-1].RelationshipType = "HAS PROPERTIES"

    def nothing(ds: Dataset) -> None:
        ds.ContentSequence = [item for item in ds.ContentSequence if item.ValueType != "IMAGE"]

    for spoil in (title, stray, nothing):
        ds = report_of(phantom_context(slices=12), role="keyobjects")
        spoil(ds)
        assert selection_faults(ds), spoil.__name__


def test_the_walk_finds_an_outline_without_its_image() -> None:
    """Coordinates mean nothing without the image that they lie on."""
    report = report_of(phantom_context(slices=12), "planar")
    (measurements,) = (item for item in report.ContentSequence if concept(item) == "126010 DCM")
    (region,) = (item for item in measurements.ContentSequence[0].ContentSequence if item.ValueType == "SCOORD")
    region.ContentSequence = []
    assert faults_of(report)


@pytest.mark.parametrize("plane", short(["axial", "coronal", "sagittal"], "coronal"))
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


def measurements_of(report: Dataset) -> list[Dataset]:
    (measurements,) = (item for item in report.ContentSequence if concept(item) == "126010 DCM")
    return list(measurements.ContentSequence)


def test_the_walk_finds_faults() -> None:
    """A missing tracking UID, a private unit, a stray item and a wrong relationship are each reported."""
    context = phantom_context(slices=12)

    def drop_tracking(report: Dataset) -> None:
        items = measurements_of(report)[0].ContentSequence
        items[:] = [item for item in items if concept(item) != "112040 DCM"]

    def private_unit(report: Dataset) -> None:
        number = next(item for item in measurements_of(report)[0].ContentSequence if item.ValueType == "NUM")
        number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodingSchemeDesignator = "99X"

    def stray(report: Dataset) -> None:
        measurements_of(report)[0].ContentSequence[0].ConceptNameCodeSequence[0].CodeValue = "121106"

    def relationship(report: Dataset) -> None:
        measurements_of(report)[0].ContentSequence[0].RelationshipType = "CONTAINS"

    for spoil in (drop_tracking, private_unit, stray, relationship):
        report = report_of(context)
        spoil(report)
        assert faults_of(report), spoil.__name__


def test_the_walk_finds_faults_of_sections() -> None:
    """Sections in another order, an image library without images, and an algorithm that is identified twice in full."""
    context = phantom_context(slices=12)

    def order(report: Dataset) -> None:
        items = list(report.ContentSequence)
        report.ContentSequence = [*items[1:], items[0]]

    def no_images(report: Dataset) -> None:
        (library,) = (item for item in report.ContentSequence if concept(item) == "111028 DCM")
        (group,) = library.ContentSequence
        group.ContentSequence = [item for item in group.ContentSequence if item.ValueType != "IMAGE"]

    def twice_in_full(report: Dataset) -> None:
        first, second, *_ = measurements_of(report)
        details = [item for item in first.ContentSequence if concept(item) == "111000 DCM"]
        second.ContentSequence = [*second.ContentSequence, *details]

    for spoil in (order, no_images, twice_in_full):
        report = report_of(context)
        spoil(report)
        assert faults_of(report), spoil.__name__
