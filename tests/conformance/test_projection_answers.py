"""Results on radiographs: valid, on the source's own pixels, in mm² and mm, without a place in the patient."""

from __future__ import annotations

import functools
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from fhir import report
from fhir.release import Release
from pipeline.findings.answers import Answer, Answered, Box, Classification, Detection, Segmentation
from pipeline.findings.codes import FINDING, Code
from pipeline.findings.from_answer import findings_of
from pipeline.findings.identity import RunIdentity, instances_digest
from pipeline.findings.model import AnswerKind, BoolArray, ModelIdentity
from pipeline.geometry.projection import build_projection
from pipeline.geometry.volume import Volume
from pipeline.patient.source_values import cleaned_volume
from pipeline.phantom_projection import chest_film, mammogram, nodule_mask, nodule_of
from pipeline.report import sentences
from pipeline.results.profile import Profile
from pipeline.results.provenance import ResultContext
from pipeline.results.reported import report_content
from tests.conformance.answers import concept, model_of
from tests.conformance.synthetic import build_all, file_bytes
from tests.conformance.test_dciodvfy import errors
from tests.conformance.test_fhir_releases import judged, resources_of
from tests.peers.fhir_bundles import RECORDED
from tests.unit.pipeline.results.pr.test_presentation import filled

UNDRAWN = Profile(objects=("segmentation", "report", "presentation", "keyobjects"), report_flavour="both")
NODULE = (concept(1, "nodule", Code("427359005", "SCT", "Solitary nodule of lung")),)
LABELS = (concept(0, "normal"), concept(1, "nodule", NODULE[0].code))
FILMS = {"chest": (chest_film, nodule_of("PA")), "breast": (mammogram, nodule_of("CC"))}


@functools.cache
def film(name: str) -> tuple[Dataset, Volume, BoolArray]:
    """A computed radiograph, its volume, and where its nodule is (rows, columns); only to be read."""
    draw, centre = FILMS[name]
    ds = draw()
    return ds, cleaned_volume(build_projection((ds,))), nodule_mask(ds, centre)


def answers(name: str) -> dict[str, tuple[Answer, ModelIdentity]]:
    _, _, mask = film(name)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    low, high = (rows[0], columns[0]), (rows[-1], columns[-1])
    corners = np.array([[0, r, c] for r in (low[0], high[0]) for c in (low[1], high[1])], dtype=np.float64)
    detected = Detection(NODULE, (Box(NODULE[0], 0.8, corners, None),))
    scores = Classification(LABELS, (0.2, 0.8), True, (0.5, 0.5), none="normal")
    return {
        "outlined": (
            Segmentation(NODULE, mask[None].astype(np.uint8)),
            model_of(AnswerKind.SEGMENTATION, NODULE, NODULE[0].code, None),
        ),
        "separate": (
            Segmentation(NODULE, mask[None].astype(np.uint8), separate=True),
            model_of(AnswerKind.SEGMENTATION, NODULE, NODULE[0].code, None),
        ),
        "marked": (detected, model_of(AnswerKind.DETECTION, NODULE, NODULE[0].code, None)),
        "classified": (scores, model_of(AnswerKind.CLASSIFICATION, LABELS, FINDING, None)),
    }


@functools.cache
def context_of(name: str, kind: str) -> ResultContext:
    ds, volume, _ = film(name)
    answer, model = answers(name)[kind]
    model = replace(model, projection=True)
    run = RunIdentity(volume.series_instance_uid, instances_digest([str(ds.SOPInstanceUID), kind]), model.digest)
    return ResultContext(volume, findings_of(Answered(answer), volume, run, model), run)


KINDS = ("outlined", "separate", "marked", "classified")
every = pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in FILMS for kind in KINDS])


@every
def test_dciodvfy_finds_no_error(name: str, kind: str, tmp_path: Path) -> None:
    for item in build_all(context_of(name, kind), UNDRAWN):
        path = tmp_path / item.filename
        path.write_bytes(file_bytes(item.dataset))
        assert errors(path) == [], item.filename


@pytest.mark.parametrize("release", list(Release))
def test_fhir_validators_find_no_error(release: Release) -> None:
    resources = []
    for kind in KINDS:
        context = context_of("chest", kind)
        bundle = report.build(report_content(context, build_all(context, UNDRAWN), recorded=RECORDED), release=release)
        resources += [bundle, *resources_of(bundle)]
    found = judged(resources, release)
    assert [(item["resourceType"], said) for item, said in zip(resources, found, strict=True) if said] == []


def objects(name: str, kind: str) -> dict[str, Dataset]:
    return {item.role: item.dataset for item in build_all(context_of(name, kind), UNDRAWN)}


@pytest.mark.parametrize("name", FILMS)
def test_the_segmentation_lies_on_the_pixels_of_the_film(name: str) -> None:
    source, _, mask = film(name)
    seg = objects(name, "outlined")["segmentation"]
    assert "FrameOfReferenceUID" not in seg
    assert (seg.Rows, seg.Columns, seg.NumberOfFrames) == (*mask.shape, 1)
    assert np.array_equal(pydicom.pixels.pixel_array(_readable(seg)).reshape(mask.shape).astype(bool), mask)
    (frame,) = seg.PerFrameFunctionalGroupsSequence
    derived = frame.DerivationImageSequence[0].SourceImageSequence[0]
    assert derived.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert derived.ReferencedSOPClassUID == source.SOPClassUID
    assert seg.PatientOrientation == source.PatientOrientation


def _readable(ds: Dataset) -> Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(ds)))


@pytest.mark.parametrize("name", FILMS)
def test_the_presentation_state_draws_the_region_and_claims_no_true_length(name: str) -> None:
    _, volume, mask = film(name)
    state = objects(name, "outlined")["presentation"]
    (area,) = state.DisplayedAreaSelectionSequence
    assert "PresentationPixelSpacing" not in area
    rows, columns = volume.spacing[1:]
    ratio = area.PresentationPixelAspectRatio
    assert float(ratio[0]) / float(ratio[1]) == pytest.approx(rows / columns, abs=1e-3)
    drawn = [
        graphic
        for item in state.GraphicAnnotationSequence
        if item.GraphicLayer == "AI_OUTLINE"
        for graphic in item.GraphicObjectSequence
    ]
    assert np.array_equal(filled(drawn, mask.shape), mask)


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize(("part", "stated"), [("BREAST", True), ("KNEE", True), ("CHEST", False)])
def test_a_presentation_state_of_a_paired_part_names_its_side(
    part: str, stated: bool, side: str, tmp_path: Path
) -> None:
    context = context_of("breast", "outlined")
    header = deepcopy(context.volume.sources[0])
    header.BodyPartExamined, header.ImageLaterality = part, side
    item = build_all(replace(context, volume=replace(context.volume, sources=(header,))), UNDRAWN)[2]
    assert item.role == "presentation"
    assert item.dataset.get("Laterality") == (side if stated else None)
    path = tmp_path / item.filename
    path.write_bytes(file_bytes(item.dataset))
    assert errors(path) == []


def test_a_region_of_a_film_has_an_area_and_no_volume() -> None:
    _, volume, mask = film("chest")
    (region,) = context_of("chest", "outlined").findings.regions
    assert [item.name for item in region.measurements] == ["area"]
    assert region.value("area") == pytest.approx(mask.sum() * volume.spacing[1] * volume.spacing[2])
    content = report_content(context_of("chest", "outlined"), (), recorded=RECORDED)
    assert f"{region.value('area') / 100:.1f} cm²" in sentences.statement(content.findings)


def test_parts_of_a_structure_have_diameters_and_an_area() -> None:
    (region,) = context_of("chest", "separate").findings.regions
    assert [item.name for item in region.measurements] == ["area", "long_axis", "short_axis"]


def test_a_box_on_a_film_has_no_depth() -> None:
    (region,) = context_of("chest", "marked").findings.regions
    assert [item.name for item in region.measurements] == ["length", "width", "score"]
