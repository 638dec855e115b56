"""A profile says what a destination gets; forms are objects of their own, encodings are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset

from pipeline.results.build import build
from pipeline.results.profile import KINDS, PRESETS, Profile, TransferSyntax
from pipeline.results.provenance import ResultContext
from pipeline.results.result_object import ResultObject
from tests.conformance.synthetic import EVERYTHING, build_all, file_bytes, phantom_context


@pytest.fixture(scope="module")
def context() -> ResultContext:
    return phantom_context(slices=12)


def reread(item: ResultObject) -> Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_builds_what_it_names(name: str, context: ResultContext) -> None:
    """Every kind in its list, no other, each named as that preset's."""
    objects = build(context, {name: PRESETS[name]})
    assert tuple(dict.fromkeys(item.role for item in objects)) == tuple(
        kind for kind in KINDS if kind in PRESETS[name].objects
    )
    assert {item.profiles for item in objects} == {(name,)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objects": ()}, "at least 1"),
        ({"objects": ("overlay", "overlay")}, "twice"),
        ({"objects": ("overlay", "report")}, "add 'segmentation' to objects"),
        ({"objects": ("pictures",)}, "overlay"),
        ({"omit_empty": True}, "Extra inputs"),
        ({"transfer_syntax": "JPEGBaseline8Bit"}, "RLELossless"),
    ],
)
def test_a_profile_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    """With what is wrong and what there is."""
    with pytest.raises(ValidationError, match=message):
        Profile(**changes)


def test_profiles_share_what_is_the_same_and_differ_in_what_is_not(context: ResultContext) -> None:
    """One overlay for all; a segmentation and a report in each form, in files of their own, of one lesion."""
    names = ("generic-pacs", "orthanc-ohif")
    objects = build(context, {name: PRESETS[name] for name in names})
    by_file = {item.filename: item for item in objects}
    assert all(item.profiles == names for item in objects if item.role == "overlay")
    assert by_file["segmentation.dcm"].profiles == ("generic-pacs",)
    assert by_file["segmentation-orthanc-ohif.dcm"].profiles == ("orthanc-ohif",)
    assert by_file["presentation.dcm"].profiles == ("generic-pacs",)
    assert len({item.dataset.SOPInstanceUID for item in objects}) == len(objects) == len(by_file)
    one, other = (by_file[name].dataset for name in ("segmentation.dcm", "segmentation-orthanc-ohif.dcm"))
    assert one.SegmentSequence[0].TrackingUID == other.SegmentSequence[0].TrackingUID


def test_references_stay_within_what_a_destination_gets(context: ResultContext) -> None:
    """The report of each profile refers to that profile's segmentation and overlay, not to the other's."""
    profiles = {
        "first": Profile(),
        "frames": Profile(omit_empty_frames=False),
        "bare": Profile(objects=("segmentation", "report", "keyobjects")),
    }
    objects = build(context, profiles)
    sources = {str(ds.SOPInstanceUID) for ds in context.volume.sources}
    for name in profiles:
        mine = [item.dataset for item in objects if name in item.profiles]
        there = sources | {str(ds.SOPInstanceUID) for ds in mine}
        for ds in mine:
            named: set[str] = set()
            ds.walk(lambda _, e: named.add(str(e.value)) if e.keyword == "ReferencedSOPInstanceUID" else None)  # noqa: B023
            assert named <= there, (name, ds.Modality)


def test_two_profiles_alike_make_one_set_of_objects(context: ResultContext) -> None:
    objects = build(context, {"a": Profile(), "b": Profile()})
    assert {item.profiles for item in objects} == {("a", "b")}
    assert len(objects) == len(build(context, {"a": Profile()}))


def test_a_form_asked_for_by_a_third_profile_is_the_second_ones(context: ResultContext) -> None:
    frames = Profile(objects=("segmentation",), omit_empty_frames=False)
    objects = build(context, {"a": Profile(objects=("segmentation",)), "b": frames, "c": frames})
    assert [(item.filename, item.profiles) for item in objects] == [
        ("segmentation.dcm", ("a",)),
        ("segmentation-b.dcm", ("b", "c")),
    ]


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "RLELossless", "JPEGLSLossless", "JPEG2000Lossless"])
def test_another_transfer_syntax_loses_nothing_and_keeps_the_uid(
    syntax: TransferSyntax, context: ResultContext
) -> None:
    """The same pixels, the same attributes; what no compression takes stays as it is."""
    plain = build_all(context)
    coded = build_all(context, EVERYTHING.model_copy(update={"transfer_syntax": syntax}))
    for one, other in zip(plain, coded, strict=True):
        ds, back = reread(one), reread(other)
        assert back.SOPInstanceUID == ds.SOPInstanceUID
        compressed = syntax != "ImplicitVRLittleEndian"
        changed = one.role == "overlay" or not compressed
        assert back.file_meta.TransferSyntaxUID.keyword == (syntax if changed else "ExplicitVRLittleEndian")
        if one.role == "overlay":
            assert np.array_equal(pydicom.pixels.pixel_array(back), pydicom.pixels.pixel_array(ds))
        left = {"PixelData", "PlanarConfiguration", "PhotometricInterpretation"}
        for element in ds:
            if element.keyword not in left:
                assert back[element.tag].value == element.value, element.keyword


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_segmentations_of_whole_bytes_are_compressed(kind: str, context: ResultContext) -> None:
    profile = Profile(objects=("segmentation",), segmentation_type=kind, transfer_syntax="RLELossless")
    (item,) = build_all(context, profile)
    (plain,) = build_all(context, profile.model_copy(update={"transfer_syntax": "ExplicitVRLittleEndian"}))
    assert reread(item).file_meta.TransferSyntaxUID.keyword == "RLELossless"
    assert np.array_equal(reread(item).pixel_array, reread(plain).pixel_array)


def test_every_form_has_uids_of_its_own(context: ResultContext) -> None:
    """Whatever decides what an object holds decides its SOP Instance UID. Only its language changes the PDF."""
    undrawn = tuple(kind for kind in KINDS if kind != "document")
    uids: dict[str, bytes] = {}
    for changes in (
        {},
        {"overlay_slices": 1},
        {"omit_empty_frames": False},
        {"segmentation_type": "FRACTIONAL"},
        {"segmentation_type": "LABELMAP"},
        {"report_flavour": "planar"},
        {"report_flavour": "both"},
        {"heatmap_frame_order": "descending"},
        {"heatmap_planes": "all"},
        {"language": "de"},
        {"objects": ("overlay", "report", "keyobjects"), "report_flavour": "planar"},
        {"objects": ("segmentation", "report", "keyobjects")},
        {"objects": ("report", "keyobjects"), "report_flavour": "planar"},
    ):
        kinds = KINDS if not changes or "language" in changes else undrawn
        for item in build_all(context, Profile(**{"objects": kinds, **changes})):
            content = file_bytes(item.dataset)
            assert uids.setdefault(item.dataset.SOPInstanceUID, content) == content, (changes, item.role)
    assert len({replace(context, profile=p).series_uid("report") for p in PRESETS.values()}) == 3
