"""The parametric map holds the heat map's own values, where they are in the patient."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from pipeline import phantom
from pipeline.findings.model import Outcome
from pipeline.results.pm import parametric_map
from pipeline.results.profile import FrameOrder, Profile
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import file_bytes, phantom_context
from tests.unit.pipeline.results.test_source_images import LAYOUTS, with_frames


def map_of(context: ResultContext) -> pydicom.Dataset:
    """The map as a reader gets it from the file."""
    (item,) = parametric_map.build(context)
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_every_value_reads_back_where_it_is_in_the_patient(plane: phantom.Plane, order: FrameOrder) -> None:
    """Frame by frame, by its own position: the float32 values of that plane of the heat map, bit for bit."""
    context = phantom_context(plane)
    ordered = ResultContext(
        context.volume, context.findings, context.run, Profile(heatmap_frame_order=order, objects=("heatmap",))
    )
    ds = map_of(ordered)
    frames = np.frombuffer(ds.FloatPixelData, np.float32).reshape(-1, *context.volume.shape[1:])
    assert len(frames) == ds.NumberOfFrames
    normal = context.volume.affine[:3, 0]
    along = []
    for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        k, row, column = context.volume.to_index(place)
        assert (round(row, 3), round(column, 3)) == (0, 0)
        assert np.array_equal(frame, context.findings.heatmap[round(k)])
        along.append(float(place @ normal))
    assert along == sorted(along, reverse=order == "descending")
    orientation = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    assert orientation == context.volume.sources[0].ImageOrientationPatient


def test_another_frame_order_is_another_object() -> None:
    """One SOP Instance UID never stands for two contents."""
    context = phantom_context(slices=12)
    turned = ResultContext(
        context.volume, context.findings, context.run, Profile(objects=("heatmap",), heatmap_frame_order="descending")
    )
    assert map_of(context).SOPInstanceUID != map_of(turned).SOPInstanceUID


def test_planes_that_show_nothing_at_the_ends_are_left_out() -> None:
    """What is left is one stack without a gap that holds every value from a hundredth up."""
    context = phantom_context(slices=16)
    strongest = context.findings.heatmap.max(axis=(1, 2))
    shown = np.flatnonzero(strongest >= 0.01)
    ds = map_of(context)
    assert ds.NumberOfFrames == shown[-1] - shown[0] + 1 < 16


def test_all_planes_where_the_profile_wants_them() -> None:
    """A frame for every plane of the series, for viewers that go by the order of the frames alone."""
    context = phantom_context(slices=16)
    profile = Profile(objects=("heatmap",), heatmap_planes="all")
    ds = map_of(ResultContext(context.volume, context.findings, context.run, profile))
    assert ds.NumberOfFrames == 16
    frames = np.frombuffer(ds.FloatPixelData, np.float32).reshape(context.volume.shape)
    assert np.array_equal(frames, context.findings.heatmap)
    assert ds.SOPInstanceUID != map_of(context).SOPInstanceUID


def test_it_says_what_the_values_are() -> None:
    """Quantity: Gradient-weighted class activation (CID 217), no units, 0 to 1 as it is stored."""
    ds = map_of(phantom_context(slices=12))
    (mapping,) = ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    (quantity,) = mapping.QuantityDefinitionSequence
    assert quantity.ConceptCodeSequence[0].CodeValue == "130403"
    assert "not for diagnosis" in ds.ContentDescription


def test_no_tumour_has_no_map() -> None:
    """Nothing in the picture speaks for "no tumour"."""
    assert parametric_map.build(phantom_context(outcome=Outcome.NO_FINDING, slices=12)) == ()


@pytest.mark.parametrize("name", LAYOUTS)
def test_frames_of_multi_frame_sources_are_named(name: str) -> None:
    """Each frame's derivation leads to the frame that it was made of."""
    places, totals = LAYOUTS[name]
    context = with_frames(places, totals)
    ds = map_of(context)
    for groups in ds.PerFrameFunctionalGroupsSequence:
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        uid, frame = places[round(context.volume.to_index(place)[0])]
        ((item,),) = (derivation.SourceImageSequence for derivation in groups.DerivationImageSequence)
        assert item.ReferencedSOPInstanceUID == uid
        assert item.get("ReferencedFrameNumber") == (frame if totals.get(uid, 1) > 1 else None)
