"""Results of multi-frame sources name instances and frames as the standard demands."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from fhir.report import build as build_report
from pipeline import phantom
from pipeline.findings.places import with_places
from pipeline.results.profile import Profile
from pipeline.results.provenance import ResultContext
from pipeline.results.reported import report_content
from pipeline.results.sc import overlay
from pipeline.results.seg import segmentation
from pipeline.results.sr import report
from tests.conformance.synthetic import build_all, context_of, file_bytes
from tests.unit.pipeline.results.seg.test_segmentation import mask_in_source_grid, seg_of

SLICES = 12
OBJECT, OTHER = "1.2.826.1.1", "1.2.826.1.2"
WITH_EMPTY_FRAMES = Profile(omit_empty_frames=False)


def with_frames(places: Sequence[tuple[str, int | None]], totals: dict[str, int]) -> ResultContext:
    """A phantom's run whose plane k is the frame of the instance that ``places[k]`` says.

    ``totals`` is NumberOfFrames of each instance; a frame of None is a single-frame instance.
    """
    datasets = phantom.head_phantom(slices=SLICES, matrix=64)
    context = context_of(datasets, phantom.lesion_mask(datasets))
    sources = []
    for ds, (uid, frame) in zip(context.volume.sources, places, strict=True):
        source = deepcopy(ds)
        source.SOPInstanceUID = uid
        if frame is not None:
            source.SOPClassUID, source.NumberOfFrames = EnhancedMRImageStorage, totals[uid]
        sources.append(source)
    volume = replace(context.volume, sources=tuple(sources), frames=tuple(frame for _, frame in places))
    return ResultContext(volume, with_places(context.findings, volume), context.run, WITH_EMPTY_FRAMES)


LAYOUTS = {
    "one object": ([(OBJECT, k + 1) for k in range(SLICES)], {OBJECT: SLICES}),
    "frames from head to feet": ([(OBJECT, SLICES - k) for k in range(SLICES)], {OBJECT: SLICES}),
    "the second of two stacks": ([(OBJECT, SLICES + k + 1) for k in range(SLICES)], {OBJECT: 2 * SLICES}),
    "every other frame": ([(OBJECT, 2 * k + 1) for k in range(SLICES)], {OBJECT: 2 * SLICES}),
    "two objects, interleaved": (
        [((OBJECT, OTHER)[k % 2], k // 2 + 1) for k in range(SLICES)],
        {OBJECT: SLICES // 2, OTHER: SLICES},
    ),
    "an object for each plane": ([(f"1.2.3.{k + 1}", 1) for k in range(SLICES)], {f"1.2.3.{k}": 1 for k in range(99)}),
    "single-frame instances": ([(f"1.2.3.{k + 1}", None) for k in range(SLICES)], {}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_frame_of_the_segmentation_names_the_frame_it_lies_on(name: str) -> None:
    """Derivation Image Sequence leads from each frame to its source image; no stand-in is left in the object."""
    places, totals = LAYOUTS[name]
    context = with_frames(places, totals)
    seg = seg_of(context)
    positions = [list(map(float, ds.ImagePositionPatient)) for ds in context.volume.sources]
    named = []
    for groups in seg.PerFrameFunctionalGroupsSequence:
        ((item,),) = (derivation.SourceImageSequence for derivation in groups.DerivationImageSequence)
        place = list(map(float, groups.PlanePositionSequence[0].ImagePositionPatient))
        uid, frame = places[positions.index(place)]
        named.append((item.ReferencedSOPInstanceUID, item.get("ReferencedFrameNumber")))
        assert named[-1] == (uid, frame if totals.get(uid, 1) > 1 else None)
        assert item.ReferencedSOPClassUID == (MRImageStorage if frame is None else EnhancedMRImageStorage)
        assert item.SpatialLocationsPreserved == "YES"
    assert len(set(named)) == SLICES
    assert np.array_equal(mask_in_source_grid(seg, context, 1), context.findings.regions[0].mask)


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_source_instance_is_listed_once(name: str) -> None:
    """Common Instance Reference of the SEG and the evidence of the SR list stored instances, never frames of them."""
    places, totals = LAYOUTS[name]
    context = with_frames(places, totals)
    expected = list(dict.fromkeys(uid for uid, _ in places))
    seg = seg_of(context)
    (series,) = seg.ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence] == expected
    assert not [item for item in series.ReferencedInstanceSequence if "ReferencedFrameNumber" in item]
    for item in seg.SourceImageSequence:
        frames = sorted(frame for uid, frame in places if uid == item.ReferencedSOPInstanceUID and frame)
        whole = len(frames) == totals.get(item.ReferencedSOPInstanceUID, 0)
        assert np.atleast_1d(item.get("ReferencedFrameNumber", [])).tolist() == ([] if whole else frames)
    (item,) = report.build(context, segmentation.build(context), overlay.build(context))
    (study,) = item.dataset.CurrentRequestedProcedureEvidenceSequence
    listed = {
        series.SeriesInstanceUID: [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence]
        for series in study.ReferencedSeriesSequence
    }
    assert listed[context.volume.series_instance_uid] == expected


def test_an_overlay_page_names_the_frame_that_it_shows() -> None:
    """Each slice page refers to its frame; the series reference is to the whole object."""
    context = with_frames(*LAYOUTS["the second of two stacks"])
    planes = (context.findings.key_slice, *overlay.pages_for(context.findings, context.profile.overlay_slices))
    for item, plane in zip(overlay.build(context), planes, strict=True):
        (image,) = item.dataset.SourceImageSequence
        assert (image.ReferencedSOPInstanceUID, image.ReferencedFrameNumber) == (OBJECT, SLICES + plane + 1)
        (series,) = item.dataset.ReferencedSeriesSequence
        (instance,) = series.ReferencedInstanceSequence
        assert instance.ReferencedSOPInstanceUID == OBJECT
        assert "ReferencedFrameNumber" not in instance


def test_no_stand_in_is_named_anywhere() -> None:
    """Every UID that a result refers to exists: a source instance or a result of the run."""
    context = with_frames(*LAYOUTS["every other frame"])
    objects = build_all(context)
    known = {OBJECT, *(str(item.dataset.SOPInstanceUID) for item in objects)}
    for item in objects:
        ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))
        named: set[str] = set()
        ds.walk(lambda _, element: named.add(element.value) if element.keyword == "ReferencedSOPInstanceUID" else None)  # noqa: B023
        assert named <= known, item.filename


def test_highdicom_finds_the_segment_of_a_source_frame() -> None:
    """A reader that asks for the pixels of source frames gets the plane that lies on each."""
    context = with_frames(*LAYOUTS["frames from head to feet"])
    seg = seg_of(context)
    mask = context.findings.regions[0].mask
    frames = [context.volume.frame(k) for k in range(SLICES)]
    planes = seg.get_pixels_by_source_frame(source_sop_instance_uid=hd.UID(OBJECT), source_frame_numbers=frames)
    assert np.array_equal(planes[..., 0].astype(bool), mask)


def test_fhir_counts_a_multi_frame_object_once() -> None:
    """ImagingStudy says how many instances the PACS holds."""
    for name, count in (("one object", 1), ("two objects, interleaved", 2), ("single-frame instances", SLICES)):
        context = with_frames(*LAYOUTS[name])
        recorded = datetime(2026, 1, 5, tzinfo=UTC)
        made = build_all(context, Profile(objects=("segmentation",)))
        bundle = build_report(report_content(context, made, recorded=recorded))
        (study,) = (e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "ImagingStudy")
        (source,) = (s for s in study["series"] if s["uid"] == context.volume.series_instance_uid)
        assert source["numberOfInstances"] == count


def test_cosines_that_differ_in_the_last_digit_do_not_stop_a_segmentation() -> None:
    """Scanners write them; the geometry takes them as one orientation."""
    datasets = phantom.head_phantom(slices=SLICES, matrix=64)
    mask = phantom.lesion_mask(datasets)
    datasets[3].ImageOrientationPatient = [1, 0, 0.000002, 0, 1, 0]
    context = context_of(datasets, mask)
    assert np.array_equal(mask_in_source_grid(seg_of(context), context, 1), mask)
