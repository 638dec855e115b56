"""The key object selection leads to the image to look at first and to the results that say why."""

from __future__ import annotations

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset

from pipeline.findings.model import Outcome
from pipeline.results.profile import Profile
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import build_all, file_bytes, phantom_context
from tests.unit.pipeline.results.test_source_images import LAYOUTS, with_frames


def selection_of(context: ResultContext, profile: Profile | None = None) -> Dataset:
    """The selection as a reader gets it from the file."""
    (item,) = (item for item in build_all(context, profile) if item.role == "keyobjects")
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))


def references(ds: Dataset) -> list[Dataset]:
    return [item.ReferencedSOPSequence[0] for item in ds.ContentSequence if "ReferencedSOPSequence" in item]


def test_it_points_at_the_key_image_first_and_then_at_the_results() -> None:
    """The original, the summary, the page of the key image, and each other result once."""
    context = phantom_context()
    objects = build_all(context)
    first, *others = [item.ReferencedSOPInstanceUID for item in references(selection_of(context))]
    assert first == context.volume.sources[context.findings.key_slice].SOPInstanceUID
    overlays = [item.dataset for item in objects if item.role == "overlay"]
    pages = [ds.SOPInstanceUID for ds in overlays if ds.SourceImageSequence[0].ReferencedSOPInstanceUID == first]
    rest = [item.dataset.SOPInstanceUID for item in objects if item.role not in ("overlay", "keyobjects")]
    assert others == [*pages, *rest]
    assert pages[0] == overlays[0].SOPInstanceUID


def test_every_reference_is_in_the_evidence() -> None:
    """PS3.3 C.17.6.2: a viewer finds series and study of what is selected there."""
    ds = selection_of(phantom_context())
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == ds.StudyInstanceUID
    listed = [
        item.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert sorted(listed) == sorted(item.ReferencedSOPInstanceUID for item in references(ds))


def test_highdicom_reads_it() -> None:
    """An independent reader of TID 2010 finds title, observer, description and references."""
    context = phantom_context(outcome=Outcome.NO_FINDING)
    ds = hd.ko.KeyObjectSelectionDocument.from_dataset(selection_of(context))
    (observer,) = ds.content.get_observer_contexts()
    assert observer.observer_identifying_attributes.uid == context.run.device_uid
    assert len(ds.content.get_references()) == 4
    assert ds.content[0].name.value == "113000"


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_frame_of_a_multi_frame_source_is_named(name: str) -> None:
    places, totals = LAYOUTS[name]
    context = with_frames(places, totals)
    uid, frame = places[context.findings.key_slice]
    first = references(selection_of(context, Profile(objects=("segmentation", "keyobjects"))))[0]
    assert first.ReferencedSOPInstanceUID == uid
    assert first.get("ReferencedFrameNumber") == (frame if totals.get(uid, 1) > 1 else None)


def test_it_points_at_nothing_that_the_destination_does_not_get() -> None:
    """A reference to an object that was never sent is a dead link."""
    profile = Profile(objects=("overlay", "keyobjects"))
    roles = {str(item.ReferencedSOPClassUID) for item in references(selection_of(phantom_context(slices=12), profile))}
    assert roles == {"1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"}
