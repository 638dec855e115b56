"""Results of every kind of answer: valid objects and resources, and the same facts in each of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import hl7
import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_node.deliver.hl7v2 import oru
from fhir import report
from fhir.release import Release
from pipeline.export import nifti
from pipeline.findings import codes
from pipeline.findings.measurements import estimate
from pipeline.findings.model import SEEKS, AnswerKind, Outcome, Region
from pipeline.report import sentences
from pipeline.report.content import ReportContent
from pipeline.report.sentences import Language
from pipeline.report.stored import from_json, to_json
from pipeline.results.colours import region_rgb
from pipeline.results.profile import Profile, ReportFlavour
from pipeline.results.provenance import ResultContext
from pipeline.results.reported import report_content
from pipeline.results.result_object import ResultObject
from tests.conformance.answers import ANSWERS, STRUCTURES, answer_context, volume_of
from tests.conformance.synthetic import build_all, file_bytes
from tests.conformance.test_dciodvfy import errors
from tests.conformance.test_fhir_releases import judged, resources_of
from tests.forms import short
from tests.peers.fhir_bundles import RECORDED
from tests.unit.dicom_node.deliver.test_hl7v2_oru import TO
from tests.unit.pipeline.results.pr.test_presentation import filled
from tests.unit.pipeline.results.seg.test_segmentation import mask_in_source_grid, seg_of

UNDRAWN = ("segmentation", "report", "presentation", "heatmap", "keyobjects")
FLAVOURS: tuple[ReportFlavour, ...] = ("volumetric", "planar", "both")
OUTLINED = ("structures", "brain", "nested", "separate")


@functools.cache
def made(name: str, flavour: ReportFlavour = "volumetric") -> tuple[ResultObject, ...]:
    """The objects of an answer; only to be read."""
    return build_all(answer_context(name), Profile(objects=UNDRAWN, report_flavour=flavour))


def object_of(name: str, role: str, flavour: ReportFlavour = "volumetric") -> Dataset | None:
    return next((item.dataset for item in made(name, flavour) if item.role == role), None)


@functools.cache
def content_of(name: str) -> ReportContent:
    return report_content(answer_context(name), made(name), recorded=RECORDED)


def items(item: Dataset, concept: codes.Code) -> Iterator[Dataset]:
    """Every content item of this concept, at any depth."""
    for child in item.get("ContentSequence", ()):
        if child.ConceptNameCodeSequence[0].CodeValue == concept.value:
            yield child
        yield from items(child, concept)


def numbers(ds: Dataset) -> dict[str, str]:
    """By Observation UID: each number of a report."""
    found = {}

    def walk(item: Dataset) -> None:
        for child in item.get("ContentSequence", ()):
            if child.ValueType == "NUM":
                found[str(child.ObservationUID)] = str(child.MeasuredValueSequence[0].NumericValue)
            walk(child)

    walk(ds)
    return found


def measured(context: ResultContext) -> list[float]:
    """Every number of the findings, rounded as results give it."""
    findings = context.findings
    every = [item for region in findings.regions for item in region.measurements] + [*findings.quantities]
    return [round(item.value, item.digits) for item in every] + [
        round(p.probability, 4) for p in findings.probabilities
    ]


@pytest.mark.parametrize("flavour", short(FLAVOURS, "both"))
@pytest.mark.parametrize("name", ANSWERS)
def test_dciodvfy_finds_no_error(name: str, flavour: ReportFlavour, tmp_path: Path) -> None:
    for item in made(name, flavour):
        path = tmp_path / item.filename
        path.write_bytes(file_bytes(item.dataset))
        assert errors(path) == [], item.filename


def test_dciodvfy_finds_no_error_where_nobody_states_a_body_part(tmp_path: Path) -> None:
    context = answer_context("brain")
    headers = tuple(deepcopy(ds) for ds in context.volume.sources)
    for ds in headers:
        ds.BodyPartExamined = None
    findings = replace(context.findings, model=replace(context.findings.model, body_part=""))
    bare = replace(context, volume=replace(context.volume, sources=headers), findings=findings)
    for item in build_all(bare):
        path = tmp_path / item.filename
        path.write_bytes(file_bytes(item.dataset))
        assert errors(path) == [], item.filename


@pytest.mark.parametrize("release", list(Release))
def test_fhir_validators_find_no_error(release: Release) -> None:
    resources = []
    for number, name in enumerate(ANSWERS):
        bundle = report.build(content_of(name), release=release, language=tuple(Language)[number % 4])
        resources += [bundle, *resources_of(bundle)]
    found = judged(resources, release)
    assert [(item["resourceType"], said) for item, said in zip(resources, found, strict=True) if said] == []


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_the_objects_of_its_kind(name: str) -> None:
    """Outlines have a segmentation; outlines and boxes a presentation state; every answer has a report."""
    regions = answer_context(name).findings.regions
    expected = {"report", "keyobjects"} | ({"presentation"} if regions else set())
    expected |= {"segmentation"} if any(not region.boxed for region in regions) else set()
    assert {item.role for item in made(name)} == expected


@pytest.mark.parametrize("name", ANSWERS)
def test_the_outcome_is_that_of_the_answer(name: str) -> None:
    negatives = {"nothing outlined", "no label", "no kind", "no box"}
    measured_only = {"structures", "brain", "density", "estimates"}
    expected = Outcome.FINDING
    if name in negatives:
        expected = Outcome.NO_FINDING
    elif name in measured_only:
        expected = Outcome.MEASURED
    elif name == "kind uncertain":
        expected = Outcome.INDETERMINATE
    assert answer_context(name).findings.outcome is expected


@pytest.mark.parametrize("name", OUTLINED)
def test_each_region_is_a_segment_on_its_own_pixels(name: str) -> None:
    context, seg = answer_context(name), object_of(name, "segmentation")
    assert seg is not None
    assert len(seg.SegmentSequence) == len(context.findings.regions)
    for number, (region, segment) in enumerate(
        zip(context.findings.regions, seg.SegmentSequence, strict=True), start=1
    ):
        assert np.array_equal(mask_in_source_grid(seg_of(context), context, number), region.mask)
        term = context.findings.model.term(region.label)
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == term.code.value
        assert segment.TrackingUID == region.tracking_uid
        assert segment.TrackingID == region.tracking_id
        category = segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue
        sought = context.findings.model.target is not None
        assert category == (codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE if sought else codes.ANATOMICAL_STRUCTURE).value


def test_neighbouring_structures_have_colours_of_their_own() -> None:
    seg, findings = object_of("structures", "segmentation"), answer_context("structures").findings
    assert seg is not None
    colours = [tuple(item.RecommendedDisplayCIELabValue) for item in seg.SegmentSequence]
    assert len(set(colours[:10])) == 10
    assert colours[10] == colours[0]
    assert region_rgb(findings, 1) == region_rgb(findings, 11) != region_rgb(findings, 2)


@pytest.mark.parametrize("name", [*OUTLINED, "boxes"])
def test_the_presentation_state_draws_each_region(name: str) -> None:
    context, ds = answer_context(name), object_of(name, "presentation")
    assert ds is not None
    for region in context.findings.regions:
        for k in region.slices:
            uid = str(context.volume.sources[k].SOPInstanceUID)
            drawn = [
                graphic
                for item in ds.GraphicAnnotationSequence
                for graphic in item.get("GraphicObjectSequence", ())
                if graphic.TrackingUID == region.tracking_uid
                and item.GraphicLayer.startswith("AI_OUTLINE")
                and uid in {str(image.ReferencedSOPInstanceUID) for image in item.ReferencedImageSequence}
            ]
            assert np.array_equal(filled(drawn, context.volume.shape[1:]), region.voxels.plane(k))


@pytest.mark.parametrize("flavour", short(FLAVOURS, "both"))
@pytest.mark.parametrize("name", ANSWERS)
def test_the_structured_report_holds_every_number(name: str, flavour: ReportFlavour) -> None:
    """Each once under an identifier of its own; beside volumetric groups, diameters a second time."""
    context, ds = answer_context(name), object_of(name, "report", flavour)
    assert ds is not None
    found = sorted(map(float, numbers(ds).values()))
    twice = [
        round(axis.length_mm, 1) for region in context.findings.regions for axis in region.axes if flavour == "both"
    ]
    assert found == pytest.approx(sorted([*measured(context), *twice]))


@pytest.mark.parametrize("name", ANSWERS)
def test_the_structured_report_says_what_is_present_or_measured(name: str) -> None:
    ds, findings = object_of(name, "report"), answer_context(name).findings
    assert ds is not None
    stated = [item.ConceptCodeSequence[0].CodeValue for item in items(ds, codes.PRESENCE)]
    assert stated == ([codes.presence(findings.outcome).value] if findings.outcome in SEEKS else [])
    texts = " ".join(item.TextValue for code in (codes.CONCLUSION, codes.COMMENT) for item in items(ds, code))
    assert sentences.disclaimer() in texts
    for region in findings.regions[:6]:
        if findings.outcome is Outcome.MEASURED:
            assert region.tracking_id in texts
    assert all(findings.model.term(name).title in texts for name in findings.suggested)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("release", list(Release))
def test_fhir_has_the_numbers_of_the_structured_report(name: str, release: Release) -> None:
    """Each Observation with a number has the report's Observation UID as identifier, and its number."""
    ds = object_of(name, "report")
    assert ds is not None
    bundle = report.build(content_of(name), release=release)
    found = {
        identifier["value"].removeprefix("urn:oid:"): item["valueQuantity"]["value"]
        for item in resources_of(bundle)
        if "valueQuantity" in item
        for identifier in item["identifier"][:1]
    }
    assert found == pytest.approx({uid: float(value) for uid, value in numbers(ds).items()})
    (told,) = (item for item in resources_of(bundle) if item["resourceType"] == "DiagnosticReport")
    assert told["status"] == "preliminary"
    assert ("conclusionCode" in told) == (answer_context(name).findings.outcome in SEEKS)


@pytest.mark.parametrize("name", ANSWERS)
def test_hl7_has_the_numbers_of_the_structured_report(name: str) -> None:
    ds = object_of(name, "report")
    assert ds is not None
    message = hl7.parse(oru.build(content_of(name), TO).data.decode("utf-8"))
    found = [float(str(segment[5])) for segment in message.segments("OBX") if str(segment[2]) == "NM"]
    assert sorted(found) == pytest.approx(sorted(map(float, numbers(ds).values())))


@pytest.mark.parametrize("name", ANSWERS)
def test_the_report_content_is_stored_whole(name: str) -> None:
    assert from_json(to_json(content_of(name))) == content_of(name)


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_has_its_words_in_every_language(name: str, language: Language) -> None:
    findings = content_of(name).findings
    said = (sentences.headline(findings, language), sentences.statement(findings, language))
    assert all(said)
    assert not any("{" in text or "None" in text for text in said)


def test_a_sentence_names_classes_structures_and_numbers() -> None:
    def said(name: str) -> str:
        return sentences.statement(content_of(name).findings)

    assert "Pneumonia (0.81), Pleural effusion (0.62)" in said("labels")
    assert "11 structures (Structure 0, Structure 1" in said("structures")
    assert "Brain age 53.27 years, Ejection fraction 0.5531" in said("estimates")
    assert said("kind") == "The algorithm suggests: Bleed (0.85)."
    assert said("no kind").startswith("The algorithm suggests normal (score 0.70).")
    assert "2 places as possible" in said("boxes")
    assert "0.93" in said("boxes")
    assert "no neoplasm" in said("nothing outlined")
    assert "no reliable answer" in said("kind uncertain")
    assert sentences.headline(content_of("density").findings) == "Density b"


def test_structures_that_were_not_found_are_named() -> None:
    (caveat,) = answer_context("structures").findings.caveats
    assert caveat.values["names"] == (f"Structure {STRUCTURES - 1}",)


def test_only_ct_and_mr_have_a_mean_value_with_a_unit() -> None:
    """Hounsfield units for CT, arbitrary units for MR, nothing for PET, whose unit depends on other attributes."""
    found = {
        modality: [item.unit.value for item in answer_context("brain", modality).findings.regions[0].measurements]
        for modality in ("MR", "CT", "PT")
    }
    assert found == {"MR": ["mm3", "[arb'U]"], "CT": ["mm3", "[hnsf'U]"], "PT": ["mm3"]}
    (region,) = answer_context("brain", "CT").findings.regions
    assert region.value("mean_attenuation") == pytest.approx(volume_of("CT").array[region.mask].mean(), rel=1e-5)


def regions_of(name: str) -> tuple[Region, ...]:
    return answer_context(name).findings.regions


def test_a_box_fills_the_voxels_whose_centres_it_holds() -> None:
    first, second = regions_of("boxes")
    expected = np.zeros(volume_of().shape, bool)
    expected[6:10, 30:53, 40:64] = True
    assert np.array_equal(first.mask, expected)
    assert second.slices == (12,)  # it holds no slice's middle: the nearest slice shows it
    length, width, depth = (first.value(name) for name in ("length", "width", "depth"))
    slice_mm, row_mm, column_mm = volume_of().spacing
    assert (depth, length, width) == pytest.approx((3 * slice_mm, *sorted([22 * row_mm, 23 * column_mm])[::-1]))


def test_separate_parts_are_regions_with_diameters() -> None:
    larger, smaller = regions_of("separate")
    assert (larger.tracking_id, smaller.tracking_id) == ("Metastasis 1", "Metastasis 2")
    assert larger.value("volume") > smaller.value("volume")
    assert larger.value("long_axis") == pytest.approx(28, abs=3)


def test_nested_regions_keep_every_voxel() -> None:
    core, whole, enhancing = regions_of("nested")
    assert (whole.mask & core.mask).sum() == core.mask.sum()
    assert (core.mask & enhancing.mask).sum() == enhancing.mask.sum()


def test_nifti_holds_the_regions_and_no_heat_map() -> None:
    context = answer_context("structures")
    files = nifti.build(context.volume, context.findings)
    assert [file.filename for file in files] == ["volume.nii.gz", "mask.nii.gz"]


def test_the_key_slice_has_the_most_of_what_was_found() -> None:
    findings = answer_context("nested").findings
    areas = sum(region.mask.sum(axis=(1, 2)) for region in findings.regions)
    assert findings.key_slice == int(np.argmax(areas))
    assert answer_context("no box").findings.key_slice == volume_of().shape[0] // 2


def test_regions_of_one_kind_only_are_boxes() -> None:
    for name in ANSWERS:
        kind = answer_context(name).findings.model.kind
        assert all(region.boxed is (kind is AnswerKind.DETECTION) for region in regions_of(name))


@pytest.mark.parametrize(
    ("value", "shown"), [(0.00053127, "0.0005313"), (53.2718, "53.27"), (51234.5, "51234"), (0.0, "0.000")]
)
def test_small_estimates_keep_their_figures(value: float, shown: str) -> None:
    item = estimate("x", codes.LENGTH, value, codes.MILLIMETER)
    assert f"{item.value:.{item.digits}f}" == shown
