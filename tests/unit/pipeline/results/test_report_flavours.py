"""A lesion's outline in the report itself: where it is, how long it is, and that it is the same lesion everywhere."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.findings import codes
from pipeline.findings.measurements import region_observation_uid
from pipeline.findings.model import BoolArray
from pipeline.results.profile import Profile, ReportFlavour
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import build_all, context_of, file_bytes, phantom_context
from tests.shapes import with_pixels
from tests.unit.pipeline.results.pr.test_presentation import filled
from tests.unit.pipeline.results.seg.test_segmentation import awkward_masks
from tests.unit.pipeline.results.sr.test_report import groups, items, named
from tests.unit.pipeline.results.test_source_images import LAYOUTS, with_frames


def report_of(context: ResultContext, flavour: ReportFlavour) -> Dataset:
    """The report as a reader gets it from the file."""
    profile = Profile(objects=("segmentation", "report"), report_flavour=flavour)
    (item,) = (item for item in build_all(context, profile) if item.role == "report")
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))


def regions(report: Dataset) -> list[Dataset]:
    return [item for item in items(report) if item.ValueType == "SCOORD"]


def enclosed(region: Dataset, shape: tuple[int, int]) -> BoolArray:
    """The pixels whose centre lies within the region's polyline (PS3.3 C.18.6.1.2)."""
    item = Dataset()
    item.GraphicData, item.NumberOfGraphicPoints = region.GraphicData, len(region.GraphicData) // 2
    return filled([item], shape)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_outline_lies_on_the_lesion_in_the_image_where_it_is_longest(plane: phantom.Plane) -> None:
    """The polyline encloses the mask's pixels on the image that it is selected from."""
    context = phantom_context(plane)
    (lesion,) = context.findings.regions
    (region,) = regions(report_of(context, "planar"))
    assert region.GraphicType == "POLYLINE"
    k = lesion.long_axis.slice_index
    (image,) = region.ContentSequence
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == context.volume.sources[k].SOPInstanceUID
    assert np.array_equal(enclosed(region, context.volume.shape[1:]), lesion.mask[k])


@pytest.mark.parametrize("flavour", ["planar", "both"])
@pytest.mark.parametrize("name", ["one voxel", "border", "forty"])
def test_each_lesion_has_its_outline_under_its_tracking_uid(name: str, flavour: ReportFlavour) -> None:
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()[name])
    report = report_of(context, flavour)
    found = {}
    for group in groups(report):
        (uid,) = named(group, codes.TRACKING_UID)
        for region in (item for item in group.ContentSequence if item.ValueType == "SCOORD"):
            found[uid.UID] = enclosed(region, (64, 64))
    assert set(found) == {lesion.tracking_uid for lesion in context.findings.regions}
    for lesion in context.findings.regions:
        assert np.array_equal(found[lesion.tracking_uid], lesion.mask[lesion.long_axis.slice_index])


@pytest.mark.parametrize("flavour", ["volumetric", "planar", "both"])
def test_every_number_is_there_once_under_the_observation_uid_that_fhir_uses(flavour: ReportFlavour) -> None:
    """Whatever the flavour: volume, axes and mean signal; and no observation UID stands twice."""
    context = phantom_context(slices=12)
    (lesion,) = context.findings.regions
    numbers = [item for item in items(report_of(context, flavour)) if item.ValueType == "NUM"]
    uids = [item.ObservationUID for item in numbers]
    assert len(set(uids)) == len(uids)
    for name in ("volume", "long_axis", "short_axis", "mean_intensity"):
        assert region_observation_uid(context.run, lesion, name) in uids


def test_a_planar_report_refers_to_no_segmentation() -> None:
    """It is for destinations that get none, or that show nothing for a group on a segment."""
    report = report_of(phantom_context(slices=12), "planar")
    classes = {sop.ReferencedSOPClassUID for item in items(report) for sop in item.get("ReferencedSOPSequence", ())}
    assert "1.2.840.10008.5.1.4.1.1.66.4" not in classes


def test_the_title_is_the_profiles() -> None:
    """Viewers choose by it how they show a report; another title is another object."""
    context = phantom_context(slices=12)
    found = {}
    for title in ("imaging", "oncology", "automatic"):
        profile = Profile(objects=("segmentation", "report"), report_title=title)
        (item,) = (item for item in build_all(context, profile) if item.role == "report")
        found[title] = (item.dataset.ConceptNameCodeSequence[0].CodeValue, item.dataset.SOPInstanceUID)
    assert [code for code, _ in found.values()] == ["126000", "126001", "126001"]
    assert len({uid for _, uid in found.values()}) == 3


def test_the_title_is_true_of_what_the_model_looks_for() -> None:
    """And under none that is chosen so does OHIF look for coordinates: a report of anatomy is no oncology report."""
    context = phantom_context(slices=12)
    for target, code in ((codes.NEOPLASM, "126001"), (codes.LESION, "18748-4"), (None, "18748-4")):
        model = replace(context.findings.model, target=target)
        report = report_of(replace(context, findings=replace(context.findings, model=model)), "volumetric")
        assert report.ConceptNameCodeSequence[0].CodeValue == code


def test_each_flavour_is_an_object_of_its_own() -> None:
    context = phantom_context(slices=12)
    uids = {report_of(context, flavour).SOPInstanceUID for flavour in ("volumetric", "planar", "both")}
    assert len(uids) == 3


def test_highdicom_reads_the_outline() -> None:
    """An independent reader finds the planar group by its tracking UID, and its region."""
    context = phantom_context()
    (lesion,) = context.findings.regions
    report = hd.sr.srread(pydicom.filebase.DicomBytesIO(file_bytes(report_of(context, "both"))))
    (group,) = report.content.get_planar_roi_measurement_groups(tracking_uid=lesion.tracking_uid)
    assert group.roi.graphic_type == hd.sr.GraphicTypeValues.POLYLINE
    (long_axis,) = group.get_measurements(name=hd.sr.CodedConcept("103339001", "SCT", "Long axis"))
    assert long_axis.value == round(lesion.long_axis.length_mm, 1)
    assert len(report.content.get_volumetric_roi_measurement_groups()) == 1


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_frame_of_a_multi_frame_source_is_named(name: str) -> None:
    places, totals = LAYOUTS[name]
    context = with_frames(places, totals)
    uid, frame = places[context.findings.regions[0].long_axis.slice_index]
    (region,) = regions(report_of(context, "planar"))
    reference = region.ContentSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == uid
    assert reference.get("ReferencedFrameNumber") == (frame if totals.get(uid, 1) > 1 else None)


def test_an_outline_of_many_corners_is_smoothed_until_it_fits() -> None:
    """A comb of 2,200 teeth: the outline has no more points than an element holds, and reaches as far as the lesion."""
    wide = [
        with_pixels(ds, np.tile(ds.pixel_array, (1, 550)), PixelSpacing=[0.05, 0.05])
        for ds in phantom.head_phantom(slices=3, matrix=8)
    ]
    mask = np.zeros((3, 8, 4400), bool)
    mask[1, 2] = True
    mask[1, 3:6, ::2] = True
    (region,) = regions(report_of(context_of(wide, mask), "planar"))
    points = np.array(region.GraphicData).reshape(-1, 2)
    assert len(points) <= 8000
    assert points[:, 0].min() <= 1
    assert points[:, 0].max() >= 4399
