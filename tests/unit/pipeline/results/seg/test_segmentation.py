"""The segmentation holds what was outlined, voxel for voxel, where it is in the patient."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from skimage.color import lab2rgb

from pipeline import phantom
from pipeline.errors import BadResult
from pipeline.findings import codes
from pipeline.findings.model import AnswerKind, BoolArray, Outcome, Voxels
from pipeline.results.colours import region_rgb
from pipeline.results.profile import Profile
from pipeline.results.provenance import ResultContext
from pipeline.results.seg import segmentation
from tests.conformance.synthetic import MODEL, context_of, file_bytes, phantom_context
from tests.shapes import with_pixels


def seg_of(context: ResultContext) -> hd.seg.Segmentation:
    """The segmentation of ``context`` as a reader gets it from the file."""
    (item,) = segmentation.build(context)
    return hd.seg.segread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))


def mask_in_source_grid(seg: hd.seg.Segmentation, context: ResultContext, number: int) -> BoolArray:
    """Segment ``number`` on the source's voxels, found by patient coordinates and not by frame order."""
    volume = seg.get_volume(segment_numbers=[number])
    found = np.zeros(context.volume.shape, bool)
    indices = np.argwhere(volume.array[..., 0])
    if len(indices):
        points = indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        inverse = np.linalg.inv(context.volume.affine)
        back = points @ inverse[:3, :3].T + inverse[:3, 3]
        assert np.allclose(back, back.round(), atol=1e-3)
        found[tuple(back.round().astype(int).T)] = True
    return found


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_outline_reads_back_voxel_for_voxel(plane: phantom.Plane) -> None:
    """In each plane of acquisition the segment lies in the patient exactly where the lesion's mask does."""
    context = phantom_context(plane)
    (lesion,) = context.findings.regions
    assert lesion.mask.sum() > 50
    assert np.array_equal(mask_in_source_grid(seg_of(context), context, 1), lesion.mask)


def test_an_oblique_series_with_oblong_voxels_reads_back() -> None:
    """Orientation identical to the source, spacing from the positions, also off every axis."""
    datasets = phantom.head_phantom(slices=10, matrix=64)
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]])
    for index, ds in enumerate(datasets):
        ds.ImageOrientationPatient = [round(float(value), 6) for value in (*turn[:, 0], *turn[:, 1])]
        ds.ImagePositionPatient = [round(float(value), 4) for value in turn @ (10, -20, 7.5 * index)]
        ds.PixelSpacing = [0.7, 1.3]
        ds.SliceThickness = 5  # a gap of 2.5 mm
    mask = np.zeros((10, 64, 64), bool)
    mask[3:6, 10:30, 40:45] = True
    context = context_of(datasets, mask)
    seg = seg_of(context)
    assert np.array_equal(mask_in_source_grid(seg, context, 1), mask)
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == datasets[0].ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].SpacingBetweenSlices == pytest.approx(7.5, abs=1e-3)
    assert shared.PixelMeasuresSequence[0].SliceThickness == 5


def awkward_masks() -> dict[str, BoolArray]:
    """Masks that have broken segmentation writers."""
    shape = (12, 64, 64)
    masks = {name: np.zeros(shape, bool) for name in ("one voxel", "first slice", "last slice", "border", "forty")}
    masks["one voxel"][5, 20, 30] = True
    masks["first slice"][0, 20:30, 20:30] = True
    masks["last slice"][-1, 20:30, 20:30] = True
    masks["border"][3, :4, :] = masks["border"][3, :, -1] = True
    for number in range(40):
        masks["forty"][1 + 3 * (number // 16), 4 + 14 * (number // 4 % 4), 4 + 14 * (number % 4)] = True
    return masks


@pytest.mark.parametrize("name", awkward_masks())
def test_awkward_masks_read_back(name: str) -> None:
    """One voxel, the first and the last slice, the image's border, forty lesions: each segment is its lesion."""
    mask = awkward_masks()[name]
    context = context_of(phantom.head_phantom(slices=12, matrix=64), mask)
    seg = seg_of(context)
    lesions = context.findings.regions
    assert len(lesions) == (40 if name == "forty" else 1)
    assert seg.number_of_segments == len(lesions)
    for number, lesion in enumerate(lesions, start=1):
        assert np.array_equal(mask_in_source_grid(seg, context, number), lesion.mask)


def of(context: ResultContext, **changes: object) -> ResultContext:
    """``context`` for a destination whose profile has ``changes``."""
    return replace(context, profile=Profile(**{"objects": ("segmentation",), **changes}))


def test_empty_frames_are_left_out_or_kept_as_the_profile_says() -> None:
    """Sparse, or with a frame for every image, for viewers that shift masks whose empty frames are missing."""
    context = phantom_context(slices=12)
    (lesion,) = context.findings.regions
    sparse, full = seg_of(context), seg_of(of(context, omit_empty_frames=False))
    assert sparse.NumberOfFrames == len(lesion.slices) < 12
    assert full.NumberOfFrames == 12
    assert sparse.SOPInstanceUID != full.SOPInstanceUID
    assert sparse.SeriesInstanceUID != full.SeriesInstanceUID
    for seg in (sparse, full):
        assert np.array_equal(mask_in_source_grid(seg, context, 1), lesion.mask)
        (series,) = seg.ReferencedSeriesSequence
        assert len(series.ReferencedInstanceSequence) == 12


def test_a_long_series_has_a_segmentation_below_a_megabyte() -> None:
    """60 slices of 512² with a lesion of a size that is found: sparse, and far from the 2 MB of all frames."""
    small = phantom.head_phantom(slices=60, matrix=8)
    mask = np.zeros((60, 512, 512), bool)
    mask[20:38, 200:260, 150:230] = True
    datasets = [with_pixels(ds, np.tile(ds.pixel_array, (64, 64)), PixelSpacing=[0.47, 0.47]) for ds in small]
    context = context_of(datasets, mask)
    (item,) = segmentation.build(context)
    assert len(file_bytes(item.dataset)) < 700_000
    assert item.dataset.NumberOfFrames == 18


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize("name", ["one voxel", "forty", "last slice"])
def test_other_types_of_segmentation_hold_the_same_lesions(kind: str, name: str) -> None:
    """For destinations that ask: an occupancy of 0 or 1, or one frame a plane whose values are segment numbers."""
    mask = awkward_masks()[name]
    context = of(context_of(phantom.head_phantom(slices=12, matrix=64), mask), segmentation_type=kind)
    seg = seg_of(context)
    assert seg.SegmentationType == kind
    for number, lesion in enumerate(context.findings.regions, start=1):
        assert np.array_equal(mask_in_source_grid(seg, context, number), lesion.mask)
        (segment,) = (item for item in seg.SegmentSequence if item.SegmentNumber == number)
        assert segment.TrackingUID == lesion.tracking_uid


def test_lesions_that_overlap_make_no_label_map() -> None:
    """A pixel has one label there: refused with what to do, rather than one lesion cut by the other."""
    context = phantom_context(slices=12)
    twice = replace(context.findings, regions=context.findings.regions * 2)
    with pytest.raises(BadResult, match="BINARY"):
        segmentation.build(replace(of(context, segmentation_type="LABELMAP"), findings=twice))


def test_lesions_that_overlap_keep_all_their_voxels() -> None:
    """A voxel of two lesions is in both segments."""
    context = phantom_context(slices=12)
    (lesion,) = context.findings.regions
    smaller = replace(
        lesion,
        tracking_uid=context.run.uid("lesion", "2"),
        voxels=Voxels.of(lesion.mask & (lesion.mask.cumsum() < 99).reshape(lesion.mask.shape)),
    )
    overlapping = ResultContext(context.volume, replace(context.findings, regions=(lesion, smaller)), context.run)
    seg = seg_of(overlapping)
    assert np.array_equal(mask_in_source_grid(seg, overlapping, 1), lesion.mask)
    assert np.array_equal(mask_in_source_grid(seg, overlapping, 2), smaller.mask)


@pytest.mark.parametrize("outcome", [Outcome.NO_FINDING, Outcome.INDETERMINATE])
def test_nothing_outlined_is_no_object(outcome: Outcome) -> None:
    """An empty segmentation would read as "looked and outlined nothing", which the report says better."""
    assert segmentation.build(phantom_context(outcome=outcome, slices=12)) == ()


def test_a_segment_says_what_it_is_and_who_made_it() -> None:
    """Category, type, site, automatic, algorithm, tracking, colour."""
    context = phantom_context(slices=12)
    (lesion,) = context.findings.regions
    (description,) = seg_of(context).SegmentSequence
    assert description.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert description.SegmentedPropertyTypeCodeSequence[0].CodeValue == codes.GLIOMA.value
    assert description.AnatomicRegionSequence[0].CodeValue == codes.BRAIN.value
    assert description.SegmentAlgorithmType == "AUTOMATIC"
    assert (description.TrackingID, description.TrackingUID) == (lesion.tracking_id, lesion.tracking_uid)
    assert len(description.RecommendedDisplayCIELabValue) == 3
    (algorithm,) = description.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (MODEL.name, MODEL.version)
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert "threshold=0.5" in algorithm.AlgorithmParameters


@pytest.mark.parametrize("name", ["one voxel", "forty"])
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_each_frame_names_its_segment(kind: str, name: str) -> None:
    """In its own functional groups, of one segment as of many: dwv looks nowhere else."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()[name])
    (item,) = segmentation.build(of(context, segmentation_type=kind))
    seg = item.dataset
    numbers = [
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber for frame in seg.PerFrameFunctionalGroupsSequence
    ]
    assert set(numbers) == set(range(1, len(context.findings.regions) + 1))
    assert "SegmentIdentificationSequence" not in seg.SharedFunctionalGroupsSequence[0]


def test_a_viewer_that_takes_the_recommended_colours_draws_as_the_pages_do() -> None:
    """Each structure's CIELab, read by another library, is the colour of its outline on the pages."""
    findings = phantom_context(slices=12).findings
    (lesion,) = findings.regions
    model = replace(
        MODEL, kind=AnswerKind.SEGMENTATION, target=None, terms=tuple(map(codes.class_term, ("brain", "skull")))
    )
    regions = tuple(replace(lesion, label=name, tracking_id=name) for name in ("brain", "skull"))
    context = replace(phantom_context(slices=12), findings=replace(findings, model=model, regions=regions))
    shown = []
    for number, segment in enumerate(seg_of(context).SegmentSequence, start=1):
        light, a, b = (value / 65535 for value in segment.RecommendedDisplayCIELabValue)  # PS3.3 C.10.7.1.1
        rgb = lab2rgb([light * 100, a * 255 - 128, b * 255 - 128]) * 255
        assert rgb == pytest.approx(region_rgb(context.findings, number), abs=2)
        shown.append(tuple(rgb.round()))
    assert len(set(shown)) == 2


def test_every_source_image_is_referenced() -> None:
    """Viewers find the images by Referenced Series Sequence; one without it is not shown."""
    context = phantom_context(slices=12)
    (series,) = seg_of(context).ReferencedSeriesSequence
    assert series.SeriesInstanceUID == context.volume.series_instance_uid
    referenced = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert referenced == {ds.SOPInstanceUID for ds in context.volume.sources}
