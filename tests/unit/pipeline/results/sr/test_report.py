"""The structured report says what was found and measured, how surely, and shows why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.findings import codes
from pipeline.findings.model import Outcome, Side
from pipeline.findings.places import with_places
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import CAVEAT, UNPRINTED, build_all, context_of, file_bytes, phantom_context
from tests.unit.pipeline.results.seg.test_segmentation import awkward_masks


def report_of(context: ResultContext) -> Dataset:
    """The report of ``context`` as a reader gets it from the file."""
    (item,) = (item for item in build_all(context, UNPRINTED) if item.role == "report")
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))


def items(ds: Dataset) -> Iterator[Dataset]:
    """Every content item below ``ds``."""
    for item in ds.get("ContentSequence", ()):
        yield item
        yield from items(item)


def named(ds: Dataset, code: codes.Code) -> list[Dataset]:
    return [item for item in items(ds) if item.ConceptNameCodeSequence[0].CodeValue == code.value]


def groups(ds: Dataset) -> list[Dataset]:
    return named(ds, codes.Code("125007", "DCM", "Measurement Group"))


def number(item: Dataset) -> tuple[float, str]:
    value = item.MeasuredValueSequence[0]
    return float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue


def test_a_lesions_group_holds_its_measurements_in_ucum() -> None:
    """Volume, both diameters and mean intensity, with the values of the lesion and the observation UIDs FHIR uses."""
    context = phantom_context()
    (lesion,) = context.findings.regions
    group = groups(report_of(context))[0]
    expected = {
        "volume": (codes.VOLUME, lesion.value("volume"), "mm3"),
        "long_axis": (codes.LONG_AXIS, lesion.long_axis.length_mm, "mm"),
        "short_axis": (codes.SHORT_AXIS, lesion.short_axis.length_mm, "mm"),
        "mean_intensity": (codes.MR_SIGNAL_INTENSITY, lesion.value("mean_intensity"), "[arb'U]"),
    }
    for name, (code, value, unit) in expected.items():
        (item,) = named(group, code)
        assert number(item) == (round(value, 1), unit)
        assert item.ObservationUID == context.run.uid("observation", "lesion", lesion.tracking_id, name)
    (mean,) = named(group, codes.DERIVATION)
    assert mean.ConceptCodeSequence[0].CodeValue == codes.MEAN.value


def test_a_lesion_is_one_thing_in_report_and_segmentation() -> None:
    """Same tracking identifier and UID, the segment's number, and the source series, for each of forty."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()["forty"])
    objects = build_all(context, UNPRINTED)
    (segmentation,) = (item.dataset for item in objects if item.role == "segmentation")
    found = groups(report_of(context))[:-4]
    assert len(found) == 40
    for index, (group, segment, lesion) in enumerate(
        zip(found, segmentation.SegmentSequence, context.findings.regions, strict=True), start=1
    ):
        (identifier,), (uid,) = named(group, codes.TRACKING_IDENTIFIER), named(group, codes.TRACKING_UID)
        assert identifier.TextValue == segment.TrackingID == lesion.tracking_id
        assert uid.UID == segment.TrackingUID == lesion.tracking_uid
        (reference,) = (
            item
            for item in group.ContentSequence
            if item.ValueType == "IMAGE" and item.ConceptNameCodeSequence[0].CodeValue == "121191"
        )
        sop = reference.ReferencedSOPSequence[0]
        assert (sop.ReferencedSOPInstanceUID, sop.ReferencedSegmentNumber) == (segmentation.SOPInstanceUID, index)
        (series,) = named(group, codes.Code("121232", "DCM", "Source series for segmentation"))
        assert context.volume.series_instance_uid == series.UID


def test_probabilities_name_their_class_and_are_no_findings() -> None:
    """Each class's probability carries the class as a modifier; only the lesion's class stands as a finding."""
    context = phantom_context()
    report = report_of(context)
    found = {}
    for item in named(report, codes.PROBABILITY):
        (modifier,) = item.ContentSequence
        assert modifier.RelationshipType == "HAS CONCEPT MOD"
        assert modifier.ConceptNameCodeSequence[0].CodeValue == codes.FINDING.value
        found[modifier.ConceptCodeSequence[0].CodeValue] = (*number(item), item.ObservationUID)
    assert found == {
        codes.class_code(item.name).value: (
            item.probability,
            "1",
            context.run.uid("observation", "probability", item.name),
        )
        for item in context.findings.probabilities
    }
    findings = [item for item in named(report, codes.FINDING) if item.RelationshipType == "CONTAINS"]
    assert [item.ConceptCodeSequence[0].CodeValue for item in findings] == [codes.GLIOMA.value]


def plain_lines(ds: Dataset) -> Iterator[str]:
    """What a viewer writes that knows names and values of items, and neither modifiers nor templates."""
    for item in ds.get("ContentSequence", ()):
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        match item.ValueType:
            case "TEXT":
                yield f"{name}: {item.TextValue}"
            case "NUM":
                yield f"{name}: {number(item)[0]:g}"
            case "CODE":
                yield f"{name}: {item.ConceptCodeSequence[0].CodeMeaning}"
            case "CONTAINER":
                yield name
                yield from plain_lines(item)


def test_a_plain_rendering_reads_from_the_answer_to_the_details() -> None:
    """Presence, conclusion and disclaimer before any figure; each probability below the name of its class; the
    algorithm in full once.
    """
    context = phantom_context()
    for k, ds in enumerate(context.volume.sources):
        ds.InstanceNumber = 900 - k
    context = replace(context, findings=with_places(context.findings, context.volume))
    lines = list(plain_lines(report_of(context)))
    begun = lines.index("Conclusions")
    statement = (
        "The algorithm suggests glioma (model probability 0.86), 1 region outlined."
        " The region measures 29 x 27 mm in its plane, 11.4 mL in volume. It lies left of the midline."
    )
    first, last = context.findings.regions[0].slices[0], context.findings.regions[0].slices[-1]
    assert lines[begun + 1 : begun + 5] == [
        "Conclusion: Presence of neoplasm, suggested by an algorithm: present",
        f"Conclusion: {statement}",
        "Comment: AI result, not verified, not for diagnosis. Computed by Brain MRI tumor 0.1.0.",
        f"Comment: Lesion 1: left, slices {first + 1}-{last + 1}, images {900 - last}-{900 - first}.",
    ]
    assert not any(line.startswith(("Volume", "Probability")) for line in lines[:begun])
    shares = {"glioma": 0.86, "meningioma": 0.09, "pituitary tumor": 0.03, "no tumor": 0.02}
    named_by = [line for line in lines if line.startswith(("Tracking Identifier: Prob", "Probability"))]
    assert named_by == [
        text
        for name, share in shares.items()
        for text in (f"Tracking Identifier: Probability of {name}", f"Probability: {share:g}")
    ]
    assert sum("digest=" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("side", "laterality", "modifier"),
    [
        (Side.LEFT, ["7771000"], []),
        (Side.RIGHT, ["24028007"], []),
        (Side.BOTH, ["51440002"], []),
        (Side.MIDLINE, [], ["130290"]),
        (None, [], []),
    ],
)
def test_a_finding_site_has_its_side(side: Side | None, laterality: list[str], modifier: list[str]) -> None:
    context = phantom_context(slices=12)
    regions = tuple(replace(item, side=side) for item in context.findings.regions)
    context = replace(context, findings=replace(context.findings, regions=regions))
    (group, *_) = groups(report_of(context))
    (site,) = named(group, codes.FINDING_SITE)
    for code, values in ((codes.LATERALITY, laterality), (codes.TOPOGRAPHICAL_MODIFIER, modifier)):
        assert [item.ConceptCodeSequence[0].CodeValue for item in named(site, code)] == values


def test_the_library_names_the_images_of_the_findings() -> None:
    """Key slice and measured planes, each once, with modality and frame of reference in their group."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()["forty"])
    (library,) = named(report_of(context), codes.IMAGE_LIBRARY)
    (group,) = library.ContentSequence
    images = [item for item in group.ContentSequence if item.ValueType == "IMAGE"]
    listed = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images]
    planes = sorted({context.findings.key_slice, *(region.measured_slice for region in context.findings.regions)})
    assert len(planes) == 3
    assert listed == [context.volume.sources[k].SOPInstanceUID for k in planes]
    (modality,) = named(group, codes.MODALITY)
    assert modality.ConceptCodeSequence[0].CodeValue == "MR"
    (frame,) = named(group, codes.FRAME_OF_REFERENCE_UID)
    assert context.volume.sources[0].FrameOfReferenceUID == frame.UID


def test_measurements_name_their_method_and_time_point() -> None:
    """Volume by the sum of voxels; the day of acquisition, by which follow-ups are told apart."""
    (group, *_) = groups(report_of(phantom_context(slices=12)))
    (volume,) = named(group, codes.VOLUME)
    (method,) = named(volume, codes.MEASUREMENT_METHOD)
    assert method.ConceptCodeSequence[0].CodeValue == "126030"
    (when,) = named(group, codes.TIME_POINT)
    assert when.TextValue == "2026-01-05"


@pytest.mark.parametrize(
    ("outcome", "presence"),
    [
        (Outcome.FINDING, codes.PRESENT),
        (Outcome.NO_FINDING, codes.ABSENT),
        (Outcome.INDETERMINATE, codes.INDETERMINATE),
    ],
)
def test_every_outcome_is_said(outcome: Outcome, presence: codes.Code) -> None:
    """No finding is a finding: the report says so, with the probability, the caveats and that nobody verified it."""
    report = report_of(phantom_context(outcome=outcome))
    (answer,) = named(report, codes.PRESENCE)
    assert answer.ConceptCodeSequence[0].CodeValue == presence.value
    said, conclusion = (item.TextValue for item in named(report, codes.CONCLUSION))
    assert said == f"Presence of neoplasm, suggested by an algorithm: {presence.meaning.lower()}"
    assert {"finding": "suggests glioma", "no_finding": "no tumor", "indeterminate": "no reliable answer"}[
        outcome
    ] in conclusion
    texts = [item.TextValue for item in named(report, codes.COMMENT)]
    assert texts[0].startswith("AI result, not verified, not for diagnosis.")
    assert texts[-1] == "Plain T1 - the model was validated on contrast-enhanced T1 (224^2 pixels)."
    assert CAVEAT.startswith("Plain T1")
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "PARTIAL",
        "UNVERIFIED",
        "PRELIMINARY",
    )


def test_the_explanation_is_the_page_of_the_lesion() -> None:
    """Visual explanation: the overlay of the lesion's key slice in its group, the summary beside the probabilities."""
    context = phantom_context()
    (lesion,) = context.findings.regions
    objects = build_all(context, UNPRINTED)
    pages = {item.dataset.SOPInstanceUID: item.dataset for item in objects if item.role == "overlay"}
    lesion_group, predicted, *others = groups(report_of(context))
    assert not any(named(group, codes.VISUAL_EXPLANATION) for group in others)
    for group, summary in ((lesion_group, False), (predicted, True)):
        (item,) = named(group, codes.VISUAL_EXPLANATION)
        page = pages[item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID]
        assert (page.InstanceNumber == 1) is summary
        source = page.SourceImageSequence[0].ReferencedSOPInstanceUID
        assert source == context.volume.sources[lesion.key_slice].SOPInstanceUID
        (technique,) = item.ContentSequence
        assert technique.ConceptCodeSequence[0].CodeValue == "130403"


def test_nothing_is_explained_where_nothing_is_shown() -> None:
    """ "No tumor" has no heat map, so no row claims one."""
    assert not named(report_of(phantom_context(outcome=Outcome.NO_FINDING)), codes.VISUAL_EXPLANATION)


def test_the_observer_is_the_algorithm() -> None:
    """Device observer with the UID that follows the model."""
    context = phantom_context(slices=12)
    report = report_of(context)
    (uid,) = named(report, codes.Code("121012", "DCM", "Device Observer UID"))
    assert context.run.device_uid == uid.UID
    assert not named(report, codes.Code("121008", "DCM", "Person Observer Name"))


def test_highdicom_reads_the_report() -> None:
    """An independent template reader finds the group by its tracking UID and the numbers in it."""
    context = phantom_context()
    (lesion,) = context.findings.regions
    (item,) = (item for item in build_all(context, UNPRINTED) if item.role == "report")
    report = hd.sr.srread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))
    (group,) = report.content.get_volumetric_roi_measurement_groups(tracking_uid=lesion.tracking_uid)
    assert group.finding_type.value == codes.GLIOMA.value
    (volume,) = group.get_measurements(name=hd.sr.CodedConcept("118565006", "SCT", "Volume"))
    assert volume.value == round(lesion.value("volume"), 1)
    classes = report.content.get_image_measurement_groups()
    assert [len(item.get_measurements()) for item in classes] == [1] * 4


def test_every_reference_is_in_the_evidence() -> None:
    """Whatever the content refers to is listed in Current Requested Procedure Evidence (PS3.3 C.17.2)."""
    context = phantom_context()
    report = report_of(context)
    listed = {
        sop.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    cited = {sop.ReferencedSOPInstanceUID for item in items(report) for sop in item.get("ReferencedSOPSequence", ())}
    assert cited
    assert cited <= listed
